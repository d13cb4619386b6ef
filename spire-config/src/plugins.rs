//! What stands around a plugin's own configuration.

use std::path::Path;

use crate::block::Block;
use crate::document::{Document, read_file};
use crate::{Error, Problem};

/// Hands each plugin of `kind` that is not disabled to `decode`, by name and with its `plugin_data`, in their order.
///
/// `plugin_data` may also stand in a file, `plugin_data_file`. Programs as plugins are an error.
pub fn each_plugin(plugins: &Block<'_>, kind: &'static str, mut decode: impl FnMut(&str, &Block<'_>)) {
    let mut names = Vec::new();
    for (name, plugin) in plugins.labelled(kind) {
        if names.contains(&&name.name) {
            let message = format!("plugin {kind:?}/{:?} declared more than once", name.name);
            plugins.error_at(name.position, kind, message);
            continue;
        }
        names.push(&name.name);
        // Without a command the others mean nothing.
        plugin.known(&["plugin_args", "plugin_checksum"]);
        if plugin.string("plugin_cmd").is_some() {
            plugin.error("plugin_cmd", "programs as plugins are not supported yet");
        }
        let file = plugin.path_at("plugin_data_file");
        if plugin.boolean("enabled") == Some(false) {
            // Nobody looks into it.
            plugin.known(&["plugin_data"]);
            continue;
        }
        match file {
            Some(_) if plugin.has("plugin_data") => {
                plugin.error("plugin_data_file", "only one of [plugin_data, plugin_data_file] can be used");
            }
            Some(file) => from_file(&plugin, &file, |data| decode(&name.name, data)),
            None => {
                let data = plugin.block("plugin_data").unwrap_or_else(|| plugin.empty("plugin_data"));
                decode(&name.name, &data);
            }
        }
    }
}

fn from_file(plugin: &Block<'_>, path: &Path, decode: impl FnOnce(&Block<'_>)) {
    let failed = |why: String| plugin.error("plugin_data_file", format!("failed to read plugin configuration: {why}"));
    let parsed = read_file(path).and_then(|text| Document::parse(&path.display().to_string(), &text));
    match parsed {
        Ok(document) => decode(&Block::at(&document, plugin.path(), plugin.report())),
        Err(Error::Syntax { file, position, message }) => {
            let path = plugin.path().to_owned();
            plugin.report().error(Problem { file, position: Some(position), path, message });
        }
        Err(Error::NotFound { .. }) => {
            failed(format!("open {}: no such file or directory", path.display()));
        }
        Err(err) => failed(err.to_string()),
    }
}

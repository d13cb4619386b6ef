//! Which container a process runs in, told by its control groups.
//!
//! `/proc/<pid>/cgroup` is asked first. `/proc/<pid>/mountinfo` counts only where that names no container, because a
//! process may arrange its mounts as it likes.

use super::proc::ProcDir;
use crate::{ContainerError, Error, ProcessError};

/// A container, as a control group's path names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Container {
    /// 64 hexadecimal digits; empty where only a pod is known.
    pub(super) id: String,
    /// The pod's UID, where Kubernetes made the control group.
    pub(super) pod_uid: Option<String>,
    /// The path of the control group that said so.
    pub(super) path: String,
}

impl Container {
    /// The part of [`Self::path`] that belongs to the container as a whole: up to and with the segment of its ID.
    pub(super) fn root(&self) -> &str {
        let end = self.path.rfind(&self.id).map_or(0, |at| at + self.id.len());
        let rest = self.path.get(end..).and_then(|rest| rest.find('/'));
        rest.and_then(|at| self.path.get(..end + at)).unwrap_or(&self.path)
    }

    /// The user whose control groups lie around this one, who could have named it himself.
    pub(super) fn user(&self) -> Option<u32> {
        self.path.split('/').find_map(|segment| segment.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok())
    }

    /// Whether somebody other than the machine's own engine may have chosen the name: a user in his own slice, or
    /// another container within its own control group.
    pub(super) fn is_named_by_others(&self) -> bool {
        self.user().is_some() || self.path.split('/').filter(|segment| container_id(segment).is_some()).count() > 1
    }
}

/// The container of a process; `None` for one outside of containers. Blocks for a moment.
///
/// # Errors
/// When the files do not agree, or are not understood. A missing file is a process without container: whether the process
/// is still there is for the caller to ask.
pub(super) fn container_of(process: &ProcDir<'_>) -> Result<Option<Container>, Error> {
    let text = process.text("cgroup")?;
    let found = of_paths(text.as_deref().unwrap_or_default().lines().map(cgroup_path), process.pid(), "cgroup")?;
    if found.is_some() {
        return Ok(found);
    }
    let text = process.text("mountinfo")?;
    let roots = text.as_deref().unwrap_or_default().lines().filter_map(|line| mount_root(line).transpose());
    of_paths(roots, process.pid(), "mountinfo")
}

/// Puts together what several paths say.
fn of_paths<'a>(
    paths: impl Iterator<Item = Result<&'a str, &'static str>>,
    pid: u32,
    what: &'static str,
) -> Result<Option<Container>, Error> {
    let mut known = Container::default();
    for path in paths {
        let path = path.map_err(|reason| ProcessError::Malformed { pid, what, reason })?;
        let found = of_path(path);
        match (&known.pod_uid, &found.pod_uid) {
            // What Kubernetes has made says more than what lies around it.
            (None, Some(_)) => known = found,
            (Some(_), None) => {}
            (Some(one), Some(other)) if one != other => return Err(conflict("pod UIDs", one, other)),
            _ if known.id.is_empty() => known = found,
            _ if known.id != found.id => return Err(conflict("container IDs", &known.id, &found.id)),
            _ => {}
        }
    }
    Ok(Some(known).filter(|known| !known.id.is_empty()))
}

fn conflict(what: &'static str, one: &str, other: &str) -> Error {
    ContainerError::Ambiguous { what, one: one.to_owned(), other: other.to_owned() }.into()
}

/// The last container ID in the path, and the pod UID before it.
fn of_path(path: &str) -> Container {
    for (at, segment) in path.rmatch_indices('/').map(|(at, _)| at + 1).map(|at| (at, segment_at(path, at))) {
        if let Some((start, id)) = container_id(segment) {
            let before = path.get(..at + start).unwrap_or_default();
            let pod_uid = before.rsplit('/').find_map(pod_uid);
            return Container { id: id.to_owned(), pod_uid, path: path.to_owned() };
        }
    }
    Container::default()
}

fn segment_at(path: &str, at: usize) -> &str {
    path.get(at..).and_then(|rest| rest.split('/').next()).unwrap_or_default()
}

/// The first run of exactly 64 hexadecimal digits that is a word by itself, and where it begins.
fn container_id(segment: &str) -> Option<(usize, &str)> {
    words(segment).find(|(_, word)| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Letters, digits and underscores, as far as they go.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split(|char: char| !is_word(char)).map(move |word| {
        // Between two words there is nothing that the second could be found in.
        let start = text.get(at..).and_then(|rest| rest.find(word)).map_or(at, |skipped| at + skipped);
        at = start + word.len();
        (start, word)
    })
}

fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

/// `pod` and a UID, whose parts are set off by `-` or `_`; the UID comes with `-`.
fn pod_uid(segment: &str) -> Option<String> {
    segment.match_indices("pod").find_map(|(at, _)| {
        let begins_a_word = segment.get(..at)?.chars().next_back().is_none_or(|char| !is_word(char));
        let uid = segment.get(at + 3..at + 3 + UID_LENGTH)?;
        let ends_a_word = segment.get(at + 3 + UID_LENGTH..)?.chars().next().is_none_or(|char| !is_word(char));
        let fits = uid.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => matches!(byte, b'-' | b'_'),
            _ => byte.is_ascii_hexdigit(),
        });
        (begins_a_word && ends_a_word && fits).then(|| uid.replace('_', "-"))
    })
}

/// As in `8-4-4-4-12`.
const UID_LENGTH: usize = 36;

/// The path in `hierarchy:controllers:path`.
fn cgroup_path(line: &str) -> Result<&str, &'static str> {
    let mut fields = line.splitn(3, ':');
    match (fields.next(), fields.next(), fields.next()) {
        (Some(_), Some(_), Some(path)) => Ok(path),
        _ => Err("a line has less than three fields"),
    }
}

/// The root of a mount of control groups, unless it is everything; `None` for other mounts.
fn mount_root(line: &str) -> Result<Option<&str>, &'static str> {
    let mut fields = line.split(' ');
    let root = fields.nth(3).ok_or("a line has no root")?;
    let kind = fields.skip_while(|field| *field != "-").nth(1).ok_or("a line has no file system type")?;
    Ok(Some(root).filter(|root| matches!(kind, "cgroup" | "cgroup2") && *root != "/"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const POD: &str = "72f7f152-440c-66ac-9084-e0fc1d8a910c";

    /// Of a process whose files are these.
    fn located(cgroup: &str, mountinfo: &str) -> Result<Option<Container>, Error> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("42")).unwrap();
        let fill = |text: &str| text.replace("{A}", A).replace("{B}", B).replace("{POD}", POD);
        for (name, text) in [("cgroup", cgroup), ("mountinfo", mountinfo)].into_iter().filter(|file| file.1 != "-") {
            std::fs::write(dir.path().join("42").join(name), fill(text)).unwrap();
        }
        container_of(&ProcDir::open(dir.path(), 42).unwrap())
    }

    fn told(cgroup: &str, mountinfo: &str) -> String {
        match located(cgroup, mountinfo) {
            Ok(None) => "none".into(),
            Ok(Some(container)) => {
                let id = container.id.chars().next().unwrap();
                container.pod_uid.map_or(id.to_string(), |pod| format!("{id} in {pod}"))
            }
            Err(err) => err.to_string().replace(A, "A").replace(B, "B"),
        }
    }

    #[test]
    fn control_groups_of_every_layout_tell_the_container() {
        let in_pod = format!("a in {POD}");
        for (cgroup, expected) in [
            // docker on v1, on v2, under systemd
            ("11:pids:/docker/{A}\n10:cpu,cpuacct:/docker/{A}\n0::/docker/{A}\n", "a"),
            ("0::/system.slice/docker-{A}.scope\n", "a"),
            ("0::/system.slice/docker-{A}.scope/init.scope\n", "a"),
            // docker in docker: the innermost
            ("0::/docker/{A}/docker/{B}\n", "b"),
            // podman
            ("0::/machine.slice/libpod-{A}.scope/container\n", "a"),
            ("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope\n", "a"),
            // kubernetes with either driver
            ("0::/kubepods/burstable/pod{POD}/{A}\n", &in_pod),
            (
                "0::/kubepods.slice/kubepods-pod72f7f152_440c_66ac_9084_e0fc1d8a910c.slice/cri-containerd-{A}.scope\n",
                &in_pod,
            ),
            // kind: what Kubernetes made says more than what lies around it, before and after it
            ("1:net_cls:/docker/{B}/kubelet/kubepods/pod{POD}/{A}\n0::/docker/{B}/system.slice/x.service\n", &in_pod),
            ("0::/docker/{B}/system.slice/x.service\n1:net_cls:/docker/{B}/kubepods/pod{POD}/{A}\n", &in_pod),
            // no container
            ("0::/user.slice/user-1000.slice/session-3.scope\n", "none"),
            ("0::/\n", "none"),
            ("", "none"),
            ("-", "none"),
            ("0::/docker/{A}0\n", "none"),
            ("0::/docker/x{A}\n", "none"),
            ("0::/docker/{A}_\n", "none"),
        ] {
            assert_eq!(told(cgroup, "-"), expected, "{cgroup}");
        }
    }

    #[test]
    fn what_does_not_agree_is_refused() {
        for (cgroup, expected) in [
            ("1:a:/docker/{A}\n0::/docker/{B}\n", r#"multiple container IDs found ("A", "B")"#),
            ("1:a:/docker/{A}\n0::/\n", r#"multiple container IDs found ("A", "")"#),
            (
                "1:a:/pod{POD}/{A}\n0::/pod00000000-440c-66ac-9084-e0fc1d8a910c/{A}\n",
                r#"multiple pod UIDs found ("72f7f152-440c-66ac-9084-e0fc1d8a910c", "00000000-440c-66ac-9084-e0fc1d8a910c")"#,
            ),
            ("1:a:/pod{POD}/{A}\n0::/pod{POD}/{B}\n", r#"multiple container IDs found ("A", "B")"#),
            ("nonsense\n", "cgroup of process 42: a line has less than three fields"),
        ] {
            assert_eq!(told(cgroup, "-"), expected, "{cgroup}");
        }
    }

    #[test]
    fn mounts_count_only_where_control_groups_name_no_container() {
        let mounts = "25 30 0:22 / /sys rw shared:7 - sysfs sysfs rw\n\
            1303 1296 0:27 /docker/{B} /sys/fs/cgroup ro,nosuid master:11 - cgroup2 cgroup rw\n\
            1304 1296 0:28 / /sys/fs/cgroup/pids ro - cgroup  rw\n\
            1305 1296 0:29 /docker/{A} /forged rw - ext4 /dev/sda rw\n";
        assert_eq!(told("0::/\n", mounts), "b");
        assert_eq!(told("0::/docker/{A}\n", mounts), "a");
        assert_eq!(told("0::/\n", "1 2 3\n"), "mountinfo of process 42: a line has no root");
        assert_eq!(told("0::/\n", "1 2 0:3 / / rw\n"), "mountinfo of process 42: a line has no file system type");
    }

    #[test]
    fn the_containers_own_part_of_the_path_ends_with_its_id() {
        for (path, root) in [
            ("/docker/{A}/init.scope", "/docker/{A}"),
            ("/system.slice/docker-{A}.scope", "/system.slice/docker-{A}.scope"),
            ("/system.slice/docker-{A}.scope/x/y", "/system.slice/docker-{A}.scope"),
        ] {
            let container = located(&format!("0::{path}\n"), "-").unwrap().unwrap();
            assert_eq!(container.root(), root.replace("{A}", A));
        }
    }

    #[test]
    fn a_name_that_a_user_or_a_container_may_have_chosen_is_told_apart() {
        for (path, user, by_others) in [
            ("/system.slice/docker-{A}.scope", None, false),
            ("/user.slice/user-1000.slice/user@1000.service/docker-{A}.scope", Some(1000), true),
            ("/user.slice/user-1000.slice/user-0.slice/libpod-{A}.scope", Some(1000), true),
            ("/docker/{A}/docker/{B}", None, true),
        ] {
            let container = located(&format!("0::{path}\n"), "-").unwrap().unwrap();
            assert_eq!((container.user(), container.is_named_by_others()), (user, by_others), "{path}");
        }
    }

    #[test]
    fn this_process_has_control_groups_that_are_understood() {
        let process = ProcDir::open(Path::new("/proc"), std::process::id()).unwrap();
        let found = container_of(&process);
        assert!(matches!(found, Ok(_) | Err(Error::Container(_))), "{found:?}");
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_read_without_panic(cgroup in "([0-9]:|:|/|pod|[a-f0-9-]{36}|[a-f0-9]{64}|é|\n| ){0,20}") {
            let _ = located(&cgroup, &cgroup);
        }
    }
}

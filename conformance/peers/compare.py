#!/usr/bin/env python3
"""usage: compare.py NAME=OUTPUT...: who disagrees with the corpus, and where, as Markdown."""
import json, pathlib, sys

here = pathlib.Path(__file__).parent.parent
vectors = {}
for kind in ("ids", "x509_svid", "jwt_svid", "bundle", "wit_svid"):
    for v in json.loads((here / f"{kind}.json").read_text())["vectors"]:
        vectors[v["id"]] = (kind, v)

KINDS = ("ids", "x509_svid", "jwt_svid", "bundle", "wit_svid")
table, details = [], {}
for argument in sys.argv[1:]:
    name, path = argument.split("=", 1)
    judged, differ = dict.fromkeys(KINDS, 0), {k: [] for k in KINDS}
    for line in pathlib.Path(path).read_text(errors="replace").splitlines():
        id_, _, outcome = line.partition(" ")
        if id_ not in vectors or outcome.startswith("skip"):
            continue
        kind, v = vectors[id_]
        judged[kind] += 1
        if outcome.split(" ")[0] != v["verdict"]:
            differ[kind].append(id_)
            details.setdefault(id_, {})[name] = outcome
    cells = [f"{len(differ[k])} of {judged[k]}" if judged[k] else "-" for k in KINDS]
    table.append((name, cells))

print("| library | " + " | ".join(KINDS) + " |")
print("|---" * (len(KINDS) + 1) + "|")
for name, cells in table:
    print(f"| {name} | " + " | ".join(cells) + " |")
print()
names = [name for name, _ in table]
print("| vector | what | verdict | clause | who disagrees |")
print("|---|---|---|---|---|")
for id_, who in sorted(details.items(), key=lambda item: (KINDS.index(vectors[item[0]][0]), item[0])):
    if id_.startswith("BYTE-"):
        continue
    v = vectors[id_][1]
    said = "; ".join(f"{n}" + (f" ({o.split(' ', 1)[1][:40]})" if o.startswith(("reject loads", "reject yields")) else "") for n, o in who.items())
    print(f"| {id_} | {v['reason'].replace('|', '/')} | {v['verdict']} | {v['clause'] or 'a limit of ours'} | {said} |")
by = {}
for id_, who in details.items():
    if id_.startswith("BYTE-"):
        for n in who:
            by.setdefault(n, []).append(id_)
for n, ids in by.items():
    print(f"\n{n}, bytes: {len(ids)} ({', '.join(sorted(ids)[:6])}, ...)")

"""Validates deploy/kubernetes and prints what it looked at; exit 1 with one line for each problem.

First the folder itself, then the validator: every broken copy of `mutations.py` has to be refused, with the words it names.
`kubectl kustomize` takes part where there is a kubectl.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

import checks
import mutations


def main(folder: pathlib.Path) -> int:
    files = {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.suffix in checks.SUFFIXES}
    sources = checks.Sources.read(folder.parent.parent)

    seen, problems = checks.examine(files, sources)
    for line in seen:
        print(f"ok      {line}")
    problems += built(folder)
    for problem in problems:
        print(f"PROBLEM {problem}", file=sys.stderr)
    if problems:
        return 1

    missed = 0
    for mutation in mutations.ALL:
        broken = mutation.apply(files)
        found = [] if broken is None else checks.examine(broken, sources)[1]
        if broken is None:
            print(f"PROBLEM {mutation.file} has not once {mutation.old!r}: mend mutations.py", file=sys.stderr)
            missed += 1
        elif not any(mutation.words in problem for problem in found):
            print(f"PROBLEM not refused for {mutation.words!r}: {mutation}; found {found}", file=sys.stderr)
            missed += 1
        else:
            print(f"refused {mutation}")
    print(f"{len(seen)} things validated against Kubernetes {checks.KUBERNETES}, {len(mutations.ALL) - missed} of {len(mutations.ALL)} broken copies refused")
    return 1 if missed else 0


def built(folder: pathlib.Path) -> list[str]:
    """What kustomize makes of the folder, with and without the patch."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        print("skipped: kubectl kustomize, no kubectl")
        return []
    problems = []
    with tempfile.TemporaryDirectory() as scratch:
        for patched in (False, True):
            copy = pathlib.Path(scratch) / str(patched)
            shutil.copytree(folder, copy)
            kustomization = copy / "kustomization.yaml"
            if patched:
                kustomization.write_text(checks.with_patch(kustomization.read_text()))
            run = subprocess.run([kubectl, "kustomize", str(copy)], capture_output=True, text=True, timeout=60, check=False)
            name = "kubectl kustomize" + (" with agent-device.patch.yaml" if patched else "")
            faults = [run.stderr.strip()] if run.returncode else checks.rendered(run.stdout)
            problems += [f"{name}: {fault}" for fault in faults]
            if not faults:
                print(f"ok      {name}")
    return problems


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))

"""Which tests two trees collect, by the names of their functions and parameters, in whichever files."""

import subprocess
from collections import Counter, defaultdict
from typing import Any

from commit_trees import Failed, Tree, last_lines


def collected(tree: Tree) -> dict[str, list[str]]:
    """Test (class, function and parameters) -> the files that have it; slow ones too."""
    done = subprocess.run(
        [tree.python, "-m", "pytest", "--collect-only", "-q", "-m", "", "-p", "no:cacheprovider", "tests"],
        cwd=tree.folder,
        env=tree.environment(devices=4),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Failed(f"pytest in {tree.folder}: {last_lines(done.stdout)} {last_lines(done.stderr)}")
    found = defaultdict(list)
    for line in done.stdout.splitlines():
        file, separator, test = line.partition("::")
        if separator:
            found[test].append(file)
    return dict(found)


def compare_tests(a: Tree, b: Tree) -> dict[str, Any]:
    """Print what the second tree lost and what is new there. It passes where nothing is lost."""
    first, second = collected(a), collected(b)
    before, after = (Counter({t: len(files) for t, files in tests.items()}) for tests in (first, second))
    lost, new = before - after, after - before
    moved = sum(1 for test in first if test not in lost and sorted(first[test]) != sorted(second[test]))
    print(f"{before.total():,} tests before, {after.total():,} after; {moved:,} in other files")
    for what, tests, files in (("lost", lost, first), ("new", new, second)):
        functions = defaultdict(list)
        for test in tests:
            functions[test.partition("[")[0]].append(test)
        print(f"{what}: {tests.total():,} tests of {len(functions):,} functions")
        for function, its in sorted(functions.items()):
            print(f"  {function} ({len(its)}), {', '.join(sorted(set(files[its[0]])))}")
            for test in its if what == "lost" and function in {t.partition("[")[0] for t in second} else ():
                print(f"    {test}")
    return {
        "commits": [a.commit, b.commit],
        "tests": [before.total(), after.total()],
        "in_other_files": moved,
        "lost": sorted(lost.elements()),
        "new": sorted(new.elements()),
        "passed": not lost,
    }

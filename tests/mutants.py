"""What would the tests not notice?  ``make mutants``: each decision of matching is turned round, one at a time.

    python -m tests.mutants [--jobs N] [--line N] [--quick] [MODULE ...]        labgateway.matching.attribute …; none: all of MODULES

A mutant is one module with one place changed: a comparison, an ``and``, a ``not``, an ``if``, a number, a truth value, a word
that is compared, or what is returned. It lives in memory only: nothing on disk changes. Each one runs the tests of its
room until one of them fails; a mutant that passes them all has survived, and is printed with its line. Those in
KNOWN change nothing that can be seen, for the reason that stands there. Exit code 1: another one survived.

Tests and code are imported once; each mutant is a fork of that, in which one function has other code. Where the place is
outside of a function, everything is imported anew.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

HERE = Path(__file__).parents[1]
_ROOM = "tests/matching"
_SLOW = [f"{_ROOM}/test_properties.py", f"{_ROOM}/test_timelines.py"]
_REST = [f"{_ROOM}/test_{name}.py" for name in ("recalls", "attribute", "versions", "identity", "askable")]
MODULES = {
    "labgateway.matching.attribute": ([f"{_ROOM}/test_attribute.py"], _REST, _SLOW),
    "labgateway.matching.identity": (
        [f"{_ROOM}/test_identity.py"],
        _REST,
        _SLOW,
        ["tests/pipeline/test_ranges_out.py"],
    ),
    "labgateway.matching.askable": ([f"{_ROOM}/test_askable.py"], ["tests/gateway/test_asked.py"]),
    "labgateway.matching.check_digits": ([f"{_ROOM}/test_check_digits.py"], _REST),
    "labgateway.matching.weighing": (
        [f"{_ROOM}/test_attribute.py"],
        _REST,
        _SLOW,
        ["tests/pipeline/test_order_life.py"],
    ),
    "labgateway.matching.windows": ([f"{_ROOM}/test_attribute.py"], _REST, _SLOW),
    "labgateway.matching.versions": ([f"{_ROOM}/test_versions.py"], _REST, _SLOW),
    "labgateway.pipeline.decide": (
        [f"tests/pipeline/test_{name}.py" for name in ("decide", "order_life", "people", "rules_that_hold")],
        [f"tests/pipeline/test_{name}.py" for name in ("ranges_out", "wants", "controls", "journey", "inbox", "tubes")],
        ["tests/pipeline/test_balance.py", "tests/pipeline/test_computed.py"],
    ),
}
"""By module: the tests that notice most, and those that are asked when the first notice nothing."""
PATIENCE_S = 400
_OTHER: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_ONE_ID = "an id that proves something is never the text of one that does not: the next question says no"
_NONE_SAYS_NOTHING = "None says nothing; it stands there for the types"
KNOWN: dict[tuple[str, str], str] = {
    ("if isinstance(answer, Correction) and last is not None and new.received_at < last.fresh.received_at:",
     "isinstance(answer, Correction) and new.received_at < last.fresh.received_at"): "a Correction has something before it",
    ("return (order.received_at or datetime.max.replace(tzinfo=UTC), order.id)",
     "order.received_at"): "an order without it was held before the orders are sorted",
    ("return Attached(order, target, beside, tuple(f for f in against if f not in policy.second_ids))",
     "for f in against"): "what is compared and differs was held before",
    ("said = {replace(o, id=0, received_at=None) for o in rows}", "1"): "any number, the same for all",
    ("return (sum(int(d) for d in text[::-2]) + sum(d - 9 if d > 9 else d for d in doubled)) % 10 == 0",
     "d >= 9"): "twice a digit is never 9",
    ("by_person: bool = False", "True"): "the gateway says it of each Prior",
    ("return 0 if prior.id in replaced else 1 if prior.letter in RETRACTED and prior.replaces else 2", "3"):
        "any number above the others",
    ("return self.policy is policy and self.specimen == specimen and self.received_at == received_at",
     "return None"): "what never fits is weighed again: slower, and the same",
    ("@lru_cache(maxsize=1024)", "1025"): "how many answers are kept is speed",
    ("if _proves(one.id) and _proves(other.id):", "_proves(one.id) or _proves(other.id)"): _ONE_ID,
    ("if _proves(one.id) and _proves(other.id):", "_proves(one.id)"): _ONE_ID,
    ("if _proves(one.id) and _proves(other.id):", "_proves(other.id)"): _ONE_ID,
    ("if says_nothing(name) or name is None:", "says_nothing(name)"): _NONE_SAYS_NOTHING,
    ("return text is not None and not says_nothing(text) and _GARBLED not in text",
     "not says_nothing(text) and _GARBLED not in text"): _NONE_SAYS_NOTHING,
    ('return Place(None, "" if patient is None or says_nothing(patient) else patient.strip())',
     "says_nothing(patient)"): _NONE_SAYS_NOTHING,
    ("has_rules = mapped.line is not None and mapped.line.holding is not None",
     "mapped.line is not None"): "review finds no rules by itself; it is asked for nothing to save the time",
    ("has_rules",
     "not _released_by_hand(priors, replaces, new) and (rule := _rule(case, mapped, target, order, beside))"):
        "as above",
}  # fmt: skip
"""The line, and what stands instead in it -> why nobody can see it."""


@dataclass(frozen=True)
class Mutant:
    """One place turned round."""

    module: str
    line: int
    before: str
    after: str
    text: str
    tree: ast.Module
    function: str
    """The function of the module that holds the place; empty: it is in a class, a decorator or a constant."""

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.before}  ->  {self.after}"


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand instead of one node."""
    match node:
        case ast.Compare(ops=ops):
            for at, op in enumerate(ops):
                new = copy.deepcopy(node)
                new.ops[at] = _OTHER[type(op)]()
                yield new
            for at, one in enumerate(node.comparators):
                if isinstance(one, ast.Constant) and isinstance(one.value, str):
                    new = copy.deepcopy(node)
                    new.comparators[at] = ast.Constant(one.value + "?")
                    yield new
        case ast.BoolOp(op=op):
            new = copy.deepcopy(node)
            new.op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield new
            for at in range(len(node.values)):
                new = copy.deepcopy(node)
                del new.values[at]
                yield new if len(new.values) > 1 else new.values[0]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield copy.deepcopy(operand)
        case ast.If() | ast.IfExp() if not isinstance(node.test, (ast.Compare, ast.UnaryOp)):
            new = copy.deepcopy(node)
            new.test = ast.UnaryOp(ast.Not(), new.test)
            yield new
        case ast.comprehension(ifs=[_, *_]):
            for at in range(len(node.ifs)):
                new = copy.deepcopy(node)
                del new.ifs[at]
                yield new
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Return(value=ast.expr()) if not (isinstance(node.value, ast.Constant)):
            yield ast.Return(ast.Constant(None))
        case ast.Return(value=ast.Constant(value=None)):
            yield ast.Pass()
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield copy.deepcopy(operand)
        case ast.BinOp(op=ast.Add()):
            new = copy.deepcopy(node)
            new.op = ast.Sub()
            yield new
        case ast.BinOp(op=ast.Sub()):
            new = copy.deepcopy(node)
            new.op = ast.Add()
            yield new
        case _:
            return


def mutants(module: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    source = (HERE / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    whole, lines = ast.parse(source), source.splitlines()
    last = {id(end) for one in ast.walk(whole) if isinstance(one, ast.FunctionDef) for end in _ends(one.body)}
    declared = {
        id(one)
        for each in ast.walk(whole)
        if isinstance(each, ast.ClassDef)
        for d in each.decorator_list
        for one in ast.walk(d)
    }
    for at, node in enumerate(ast.walk(whole)):
        if id(node) in declared:
            continue  # frozen and slots decide nothing
        for new in changes(node):
            if isinstance(new, ast.Pass) and id(node) in last:
                continue  # the end of a function returns None, too
            tree = ast.parse(source)
            old = next(one for n, one in enumerate(ast.walk(tree)) if n == at)
            ast.copy_location(new, old)
            ast.fix_missing_locations(_Put(old, new).visit(tree))
            line = getattr(node, "lineno", 0) or _line(node)
            function = next(
                (one.name for one in whole.body if isinstance(one, ast.FunctionDef) and _holds(one, line)), ""
            )
            yield Mutant(module, line, _words(node), _words(new), lines[line - 1].strip(), tree, function)


def as_it_is(module: str, *, is_anew: bool) -> Mutant:
    """No mutant: the module unchanged, put in as a function's code is (is_anew False) or as a whole module is."""
    tree = ast.parse((HERE / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8"))
    names = [one.name for one in tree.body if isinstance(one, ast.FunctionDef)]
    return Mutant(module, 0, "", "", "", tree, "" if is_anew else names[0])


def _holds(function: ast.FunctionDef, line: int) -> bool:
    return function.lineno <= line <= (function.end_lineno or 0)  # lineno: of def, behind its decorators


def _ends(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements behind which nothing of the function follows."""
    match body[-1]:
        case ast.If(body=then, orelse=otherwise):
            yield from _ends(then)
            if otherwise:
                yield from _ends(otherwise)
        case ast.Match(cases=cases):
            for case in cases:
                yield from _ends(case.body)
        case end:
            yield end


def _words(node: ast.AST) -> str:
    text = ast.unparse(node.test if isinstance(node, (ast.If, ast.IfExp)) else node)
    return " ".join(text.split())[:160]


def _line(node: ast.AST) -> int:
    return next((one.lineno for one in ast.walk(node) if isinstance(one, ast.expr)), 0)


class _Put(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


class _Import(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the mutant to whoever imports the module."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.mutant.module else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.mutant.tree, self.mutant.module, "exec"), module.__dict__)


def _graft(mutant: Mutant) -> None:
    """Give the function that is imported everywhere already the mutant's code."""
    module = sys.modules[mutant.module]
    (changed,) = (o for o in mutant.tree.body if isinstance(o, ast.FunctionDef) and o.name == mutant.function)
    changed.decorator_list = []
    namespace = dict(module.__dict__)
    exec(compile(ast.Module([changed], []), mutant.module, "exec"), namespace)
    new, old = namespace[mutant.function], module.__dict__[mutant.function]
    old = getattr(old, "__wrapped__", old)  # what a cache stands before; nothing is in it yet
    old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__


def _forget() -> None:
    """Have all of ours imported anew."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("labgateway", "tests", "conftest")]:
        if name != __name__:
            del sys.modules[name]


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


_QUIET = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout", "0"]


def _child(mutant: Mutant, most: int | None) -> int:
    """In a process of its own: 0 when every test passes; most: of so many of the lists in MODULES."""
    _silence()
    if mutant.function:
        _graft(mutant)
    else:
        _forget()
        sys.meta_path.insert(0, _Import(mutant))
    signal.alarm(PATIENCE_S)  # a mutant that never ends is noticed, too
    for tests in MODULES[mutant.module][:most]:
        if code := pytest.main([*_QUIET, *tests]):
            return int(code)
    return 0


def _start(mutant: Mutant, most: int | None) -> int:
    if (pid := os.fork()) == 0:
        code = 1
        try:
            code = _child(mutant, most)
        finally:
            os._exit(code)
    return pid


def _warm(module: str) -> None:
    """Import the module's tests and all that they need, here, before the forks."""
    out, err = os.dup(1), os.dup(2)
    _silence()
    try:
        pytest.main([*_QUIET, "--collect-only", *(one for tests in MODULES[module] for one in tests)])
    finally:
        os.dup2(out, 1)
        os.dup2(err, 2)


def main() -> int:
    """Run them; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", choices=[*MODULES, []], metavar="MODULE")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="so many at once (2)")
    parser.add_argument("--line", type=int, action="append", metavar="N", help="only the mutants of this line")
    parser.add_argument("--quick", action="store_true", help="ask only the tests that notice most")
    args = parser.parse_args()
    most = 1 if args.quick else None
    os.chdir(HERE)
    modules: list[str] = args.modules or list(MODULES)
    settings.register_profile("mutants", database=None, derandomize=True)
    settings.load_profile("mutants")
    for module in modules:
        _warm(module)
        for is_anew in (False, True):
            if os.waitpid(_start(as_it_is(module, is_anew=is_anew), most), 0)[1]:
                print(f"The tests of {module} do not pass as they are: nothing can be said.")
                return 2
    started = time.monotonic()
    total = known = 0
    survived: list[Mutant] = []
    running: dict[int, Mutant] = {}

    def reap() -> None:
        nonlocal known
        pid, status = os.wait()
        mutant = running.pop(pid)
        if status == 0 and (mutant.text, mutant.after) in KNOWN:
            known += 1
        elif status == 0:
            survived.append(mutant)
            print(mutant, flush=True)

    for module in modules:
        for mutant in mutants(module):
            if args.line and mutant.line not in args.line:
                continue
            total += 1
            running[_start(mutant, most)] = mutant
            if total % 50 == 0:
                print(f"{total} mutants so far", file=sys.stderr, flush=True)
            if len(running) >= args.jobs:
                reap()
    while running:
        reap()
    print(
        f"{total} mutants, {total - known - len(survived)} noticed, {known} known to change nothing, "
        f"{len(survived)} survived; {time.monotonic() - started:.0f} s"
    )
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())

"""Conditions on stored objects: as trees, as text, and what they mean. That a database finds the same is
tested with the stores."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultscope import DeclarationError
from vaultscope.core.soup_query import All, Any_, Compare, Contains, Exists, Like, Name, Not, check_condition
from vaultscope.soup import Condition, SoupObject, attr, matches, parse_condition

NOW_NS = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z
ADDRESS = "sha256:" + "0" * 64


def known(expires_ns: int | None = None, **attributes: Any) -> SoupObject:
    return SoupObject(ADDRESS, "log", NOW_NS, expires_ns, 100, attributes)


def holds(condition: Condition | str, found: SoupObject) -> bool:
    return matches(parse_condition(condition) if isinstance(condition, str) else condition, found)


# ---- meaning


@pytest.mark.parametrize(
    ("text", "value", "wanted"),
    [
        ("a = 1", 1, True),
        ("a = 1", 1.0, True),
        ("a = 1", "1", False),
        ("a = 1", True, False),
        ("a = true", True, True),
        ("a = true", 1, False),
        ("a != true", False, True),
        ("a = null", None, True),
        ("a != null", None, False),
        ("a != null", 1, False),
        ("a = '1'", "1", True),
        ("a != 1", 2, True),
        ("a != 1", "1", False),
        ("a != 1", [2], False),
        ("a < 2", 1, True),
        ("a < 2", True, False),
        ("a < b", "a", True),
        ("a < b", "B", True),
        ("a < b", "é", False),
        ("a >= 9007199254740993", 9007199254740992.0, False),
        ("a between 1 and 3", 3, True),
        ("a between 1 and 3", 3.1, False),
        ("a between 3 and 1", 2, False),
        ("a between a and c", "b", True),
        ("a like 'cas.%'", "cas.get", True),
        ("a like 'cas.%'", "Cas.get", False),
        ("a like 'cas.%'", "xcas.get", False),
        ("a like 'c_s'", "cés", True),
        ("a like 'c_s'", "cs", False),
        (r"a like '100\%'", "100%", True),
        (r"a like '100\%'", "1000", False),
        ("a like '%'", "", True),
        ("a like '%b'", "a\nb", True),
        ("a like 1", 1, False),
        ("a like '[a]'", "a", False),
        ("a contains b", "abc", True),
        ("a contains ''", "abc", True),
        ("a contains B", "abc", False),
        ("a contains 1", "1", False),
        ("a contains b", ["a", "b"], True),
        ("a contains b", ["abc"], False),
        ("a contains 1", [1.0], True),
        ("a contains 1", [True, "1"], False),
        ("a contains null", [None], True),
        ("a exists", None, True),
        ("a missing", None, False),
        ("a exists", [], True),
    ],
)
def test_what_a_comparison_means(text: str, value: Any, wanted: bool) -> None:
    """Kinds are not mixed, and text is compared by code points."""
    assert holds(text, known(a=value)) is wanted


@pytest.mark.parametrize(
    "text",
    ["a = 1", "a != 1", "a < 1", "a like '%'", "a contains ''", "a between 0 and 9", "a exists", "a = null"],
)
def test_what_is_missing_fulfils_nothing(text: str) -> None:
    """Only `missing`, and what is negated."""
    assert not holds(text, known(b=1))
    assert holds(f"not {text}", known(b=1))
    assert holds("a missing", known(b=1))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("type = log", True),
        ("type like 'l%'", True),
        ("size = 100", True),
        ("size > 100", False),
        (f"address = {ADDRESS}", True),
        ("address contains 0000", False),
        ("address contains '0000'", True),
        (f"created = {NOW_NS}", True),
        ("created = 2026-01-31T12:00:00", True),
        ("created < 2026-01-31", False),
        ("created <= 1s", True),
        ("expires missing", True),
        ("expires > 0", False),
        ("type exists and size exists and created exists", True),
        ("attr.size = 5", True),
        ("attr.type missing", True),
        ("'attr.size' = 5", True),
    ],
)
def test_fields_and_attributes_of_their_names(text: str, wanted: bool) -> None:
    """The five fields go by their names; an attribute of such a name by attr. before it."""
    assert holds(text, known(size=5)) is wanted


def test_moments_in_python() -> None:
    """created and expires are compared with a datetime, too; other names are not."""
    moment = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    assert holds(attr("created") == moment, known())
    assert holds(attr("expires") > moment, known(NOW_NS + 1))
    with pytest.raises(DeclarationError):
        attr("a") == moment  # noqa: B015


# ---- trees


A, B, C = (Exists(Name(each)) for each in "abc")


def test_trees() -> None:
    """Python's operators make them; chains stay flat."""
    a, b, c = attr("a").exists(), attr("b").exists(), attr("c").exists()
    assert (a, b, c) == (A, B, C)
    assert a & b & c == All((A, B, C)) == a & (b & c)
    assert a | b | c == Any_((A, B, C))
    assert a & b | c == Any_((All((A, B)), C))
    assert ~(a | b) == Not(Any_((A, B)))
    assert attr("a").missing() == ~a
    assert attr("a").between(1, 2) == All((Compare(Name("a"), ">=", 1), Compare(Name("a"), "<=", 2)))
    assert attr("type").like("x") == Like(Name("type", True), "x")
    assert attr("attr.type").contains(1.0) == Contains(Name("type"), 1)


def test_pythons_own_operators_are_no_traps() -> None:
    """`and`, `or`, `not` and chains would silently drop a part: they raise."""
    a, b = attr("a") == 1, attr("b") == 2
    for use in (lambda: a and b, lambda: a or b, lambda: not a, lambda: 1 < attr("a") < 3):
        with pytest.raises(DeclarationError):
            use()
    with pytest.raises(TypeError):
        {attr("a"): 1}
    with pytest.raises(DeclarationError):
        a & True  # type: ignore[operator]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: attr(""),
        lambda: attr("attr."),
        lambda: attr('a"b'),
        lambda: attr("a" * 200),
        lambda: attr(5),  # type: ignore[arg-type]
        lambda: attr("a") == object(),
        lambda: attr("a") == [1],
        lambda: attr("a") < None,
        lambda: attr("a") >= True,
        lambda: attr("a") > float("nan"),
        lambda: attr("a") > 2**63,
        lambda: attr("a").like(5),  # type: ignore[arg-type]
        lambda: attr("a").like("x" * 2000),
        lambda: attr("a").contains(b"x"),
        lambda: attr("a").compare("~", 1),
    ],
)
def test_wrong_conditions(wrong: Any) -> None:
    """They are refused where they are written, and not by the database."""
    with pytest.raises(DeclarationError):
        wrong()


def test_sizes_are_limited() -> None:
    """200 comparisons and 50 levels go; more would be too much for some database."""
    a = attr("a") == 1
    wide: Condition = a
    for _ in range(199):
        wide = wide | a
    assert check_condition(wide) is wide
    with pytest.raises(DeclarationError, match="200"):
        check_condition(wide | a)
    deep: Condition = a
    for _ in range(49):
        deep = ~deep
    assert check_condition(deep) is deep
    with pytest.raises(DeclarationError, match="deep"):
        check_condition(~deep)


# ---- text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a exists", A),
        ("  a\n\texists ", A),
        ("not a exists", ~A),
        ("not not a exists", A),
        ("NOT a EXISTS AND b missing", ~A & ~B),
        ("a exists or b exists and c exists", A | (B & C)),
        ("(a exists or b exists) and c exists", (A | B) & C),
        ("not (a exists or b exists)", ~(A | B)),
        ("not a exists or b exists", ~A | B),
        ("a=1", attr("a") == 1),
        ("a!=-1.5e3", attr("a") != -1500),
        ("a>=.5", attr("a") >= 0.5),
        ("a = +5", attr("a") == 5),
        ("a = 1.", attr("a") == 1),
        ("a = 1.2.3", attr("a") == "1.2.3"),
        ("a = 1e", attr("a") == "1e"),
        ("a = - ", attr("a") == "-"),
        ("a = TRUE", attr("a") == True),  # noqa: E712
        ("a = Null", attr("a") == None),  # noqa: E711
        ("a = 'true'", attr("a") == "true"),
        ("a = '5'", attr("a") == "5"),
        ("a = 'it''s'", attr("a") == "it's"),
        ('a = "it\'s ""so"""', attr("a") == 'it\'s "so"'),
        ("a = ''", attr("a") == ""),
        ("'a b' = 'and'", attr("a b") == "and"),
        ("'and' = x", attr("and") == "x"),
        ("a.b-c/d:e = x,y", attr("a.b-c/d:e") == "x,y"),
        ("a between 1 and 2 and b exists", attr("a").between(1, 2) & B),
        ("a like cas.%", attr("a").like("cas.%")),
        ("a like 5", attr("a").like("5")),
        ("a contains 5", attr("a").contains(5)),
    ],
)
def test_texts(text: str, wanted: Condition) -> None:
    """The same trees as Python's operators make."""
    assert parse_condition(text) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column 1: the name of an attribute should be here, not the end"),
        ("a", "column 2: a comparison"),
        ("a =", "column 4: a value"),
        ("a = = 1", "column 5: a value"),
        ("a = and", "column 5: a value"),
        ("a == 1", "column 4: a value"),
        ("a ! 1", "column 3: '! 1' is no part"),
        ("a = 'x", 'column 5: "\'x" is no part'),
        ("a = 1 b = 2", "column 7: and, or, or the end should be here, not 'b'"),
        ("a = 1 and", "column 10"),
        ("a = 1 or or", "column 10"),
        ("(a = 1", "column 7: a closing bracket"),
        ("a = 1)", "column 6"),
        ("()", "column 2"),
        ("a between 1", "column 12: and should be here"),
        ("a between 1 or 2", "column 13"),
        ("a like", "column 7: a pattern"),
        ("a exists 1", "column 10"),
        ("and = 1", "column 1"),
        ("x = 1 and a < true", "column 11: True is neither"),
        ("created > soon", "column 1: 'soon' is neither a span"),
        ("a = 99999999999999999999", "column 1: an attribute is text"),
        ("a = 1e999", "column 1: an attribute is text"),
        ("(" * 60 + "a = 1" + ")" * 60, "deep"),
        ("a = '" + "x" * 30_000 + "'", "at most"),
        (None, "text"),
    ],
)
def test_wrong_texts(text: Any, message: str) -> None:
    """The message says where, and what should have been there."""
    with pytest.raises(DeclarationError) as caught:
        parse_condition(text)
    assert message in str(caught.value)


WORDS = ["a", "(", ")", "not", "and", "or", "=", "<", "'x", "'x'", "1", "like", "between", "exists"]


@given(st.text(max_size=40) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    """Nothing else happens, whatever it is."""
    try:
        condition = parse_condition(text)
    except DeclarationError:
        return
    assert isinstance(matches(condition, known(a="x")), bool)


def written(condition: Condition) -> str:
    """A condition as text."""
    if isinstance(condition, (All, Any_)):
        return (" and " if isinstance(condition, All) else " or ").join(
            f"({written(part)})" for part in condition.parts
        )
    if isinstance(condition, Not):
        return f"not ({written(condition.part)})"
    assert isinstance(condition, (Compare, Exists))
    name = quoted(condition.name.text)
    if isinstance(condition, Exists):
        return f"{name} exists"
    value = condition.value
    text = quoted(value) if isinstance(value, str) else "null" if value is None else str(value)
    return f"{name} {condition.op} {text}"


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


LEAVES = st.builds(
    lambda name, op, value: attr(f"attr.{name}").compare(op, value),
    st.text("ab' é.", min_size=1, max_size=4),
    st.sampled_from(["=", "!="]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=5)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none(),
) | st.just(A)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(lambda a, b: a & b, inner, inner)
        | st.builds(lambda a, b: a | b, inner, inner)
        | inner.map(lambda one: ~one)
    ),
    max_leaves=8,
)


@given(TREES)
def test_every_tree_can_be_written(condition: Condition) -> None:
    """And what is read again means the same: the same tree, but for names that need attr. before them."""
    again = parse_condition(written(condition))
    found = known(a="x", b=1)
    assert written(again) == written(condition) and matches(again, found) == matches(condition, found)

"""Protocol D: access tokens beside protocol C. What a refresh deletes and promises, and how often it may be made.

Items besides those of C: ("acc", stamp, ends). A live refresh token has two more members, (names, times), and
a spent one keeps the names. `names` are the access tokens that may still exist, each with its end, the oldest
first; `times` are the refreshes of late. A deletion is a write on its way, ("rm", item): it arrives at any
later step, or never. `keep` stands for eight names, `limit` for ten refreshes, and a grace for a minute.
Requests besides those of C: X revokes with the refresh token that H holds; P presents the first access token
after its end.
"""

import sys
from dataclasses import dataclass, replace

from tests.protocol_models.explore import explore, show
from tests.protocol_models.token_refresh import FULL as TOKENS
from tests.protocol_models.token_refresh import Model, Rule


@dataclass(frozen=True)
class AccessRule(Rule):
    named: str = (
        "all"  # a refresh token names "all" that may exist | "none" (draft) | its "own" alone
    )
    cut_short: bool = False  # a refresh deletes the access tokens that were given before
    oldest: str = (
        "after"  # the oldest of too many is deleted "after" the exchange is known | "before"
    )
    expires_in: str = (
        "left"  # an answer that is repeated tells the time "left" | the "same" as before
    )
    presented: bool = True  # an expired access token that is presented is deleted
    at_the_end: str = (
        "after"  # named items are deleted "after" K is known to be gone | "before" | "never"
    )
    limit: str = (
        "count"  # refreshes are limited by a "count" | by the "age" of the token | not ("none")
    )


class AccessModel(Model):
    def __init__(self, slots, rule, *, age=1, keep=2, limit=9, **options):
        super().__init__(slots, rule, **options)
        self.age, self.keep, self.limit = age, keep, limit

    def initial(self):
        now, K, items, *rest = super().initial()
        if self.start == "refresh":
            names = () if self.R.named == "none" else (("A1", self.age),)
            live = (*self.get(items, "R1"), names, ())
            items = self.put(items, R1=live, A1=("acc", "a1", self.age))
        return now, K, items, *rest

    # ---- what an exchange makes of names and times
    def succeeded(self, tok, names, at, new):
        """Return the names of the next refresh token, those that are over, and those that are too many."""
        over = [name for name, ends in names if ends <= at]
        kept = [*(n for n in names if n[1] > at), (f"A{new[1:]}", at + self.age)]
        if self.R.named == "none":
            return (), [], []
        if self.R.named == "own":
            return tuple(kept[-1:]), over, []
        return tuple(kept[-self.keep :]), over, [name for name, _ in kept[: -self.keep]]

    def minted(self, now, old, op):
        _, tok, _, new, at, _ = op
        names, times = (old[3], old[4]) if len(old) > 3 else ((), ())
        kept, _, _ = self.succeeded(tok, names, at, new)
        if tok != "C":
            times = (*(t for t in times if t == at), at)
        return {
            tok: ("spent", f"s{new}", new, at, now, old[2], names),
            new: ("live", f"l{new}", tok, kept, times),
            f"A{new[1:]}": ("acc", f"a{new}", at + self.age),
        }

    # ---- writes
    def holds(self, K, items, op):
        return self.get(items, op[1]) is not None if op[0] == "rm" else super().holds(K, items, op)

    def apply(self, now, K, items, op):
        if op[0] == "rm":
            return K, tuple(each for each in items if each[0] != op[1])
        return super().apply(now, K, items, op)

    @staticmethod
    def what(op):
        return f"deletion of {op[1]}" if op[0] == "rm" else Model.what(op)

    @staticmethod
    def deleting(net, now, names):
        ops = {(("rm", name), 0) for name in names}
        return tuple(sorted({*net, *ops}, key=repr))

    # ---- requests
    def begin(self, i, who, now, items, slots, clients):
        a = ("run", "rd", None, now, None, None, None, now)
        if who == "P":
            item = self.get(items, "A1")
            if item and now >= item[2]:
                yield "presents A1 after its end", (*a[:2], "A1", *a[3:]), clients
        elif who == "X":
            tok = self.get(clients, "H")[0]
            yield f"revokes {tok}", (*a[:2], tok, *a[3:]), clients
        else:
            yield from super().begin(i, who, now, items, slots, clients)

    def act(self, i, who, a, now, K, items, net, F):
        _, pc, tok, _arrived, _stamp, _krev, after, _first = a
        item = self.get(items, tok) if tok else None
        live = item is not None and item[0] == "live"
        if who == "P":
            net2 = self.deleting(net, now, ["A1"]) if item and self.R.presented else net
            yield "told invalid_token", K, items, net2, F, ("done", "invalid", ""), ()
            return
        if who == "X" and pc == "rd":
            yield from self.revoking(a, now, K, items, net, F, item)
            return
        if pc == "rd" and tok != "C" and live and self.is_refused(item, now):
            seldom = item[4].count(now) < self.limit
            ghosts = ("D7 a client is refused that refreshed no oftener than it may",) * seldom
            yield f"reads {tok}: too often; told 503", K, items, net, F, ("done", "503", ""), ghosts
            return
        for label, K2, items2, net2, F2, b, g in super().act(i, who, a, now, K, items, net, F):
            is_told, delete = b[:2] == ("done", "ok"), []
            if pc == "tx" and item is not None:
                names = (item[3:4] if live else item[6:7]) or ((),)
                _, over, many = self.succeeded(tok, names[0], now, f"R{i + 2}")
                is_sure = is_told or self.R.oldest == "before"
                delete = [*over, *(many if is_sure else [])]
                g = (*g, *(f"perhaps oldest {n}" for n in many))
                if is_told:
                    g = (*g, *(f"oldest {n}" for n in many))
                    delete += [n for n, _ in names[0] if self.R.cut_short]
                if items2 != items and tok != "C":
                    g = (*g, f"refresh {now} {i}")
            if pc == "rr" and is_told and item:  # its own stamp; without an item, X ended the grant
                _, _, many = self.succeeded(tok, item[6], item[3], b[2])
                delete, g = many, (*g, *(f"oldest {n}" for n in many))
            if is_told:
                g = (*g, self.promise(b[2], now, items2))
            if who == "X" and b[:2] == ("done", "invalid"):
                delete = list(after) if self.R.at_the_end == "after" else []
                g = (*g, *(f"named {n}" for n in after))
            yield label, K2, items2, self.deleting(net2, now, delete), F2, b, g

    def is_refused(self, item, now):
        times = item[4]
        return {
            "count": times.count(now) >= self.limit,
            "age": bool(times) and times[-1] == now,
            "none": False,
        }[self.R.limit]

    def promise(self, refresh_token, now, items):
        """Return what an answer says of its access token: until when it works."""
        name = f"A{refresh_token[1:]}"
        item = self.get(items, name)
        until = item[2] if item else now
        return f"promised {name} {now + self.age if self.R.expires_in == 'same' else until}"

    def revoking(self, a, now, K, items, net, F, item):
        _, _, tok, arrived, _, _, _, first = a
        if F:
            yield f"reads {tok}: no answer; told 503", K, items, net, F - 1, ("done", "503", ""), ()
        if item is None or item[0] == "tomb":
            yield f"reads {tok}: nothing that names", K, items, net, F, ("done", "over", ""), ()
            return
        found = item[3:4] if item[0] == "live" else item[6:7]
        names = (tok, *(name for name, _ in (found[0] if found else ())))
        net2 = self.deleting(net, now, names) if self.R.at_the_end == "before" else net
        b = ("run", "end", tok, arrived, None, None, names, first)
        yield f"reads {tok}: names {', '.join(names)}", K, items, net2, F, b, ()

    # ---- properties
    def faults_in(self, s):
        now, K, items, net, _F, slots, _clients, ghosts = s
        for fault in super().faults_in(s):
            if K is not None or not fault.startswith("C5 "):  # X deletes tokens of what has ended.
                yield fault
        yield from (g for g in ghosts if g.startswith("D"))
        told = [g.split() for g in ghosts]
        oldest = {words[1] for words in told if words[0] == "oldest"}
        perhaps = {words[2] for words in told if words[:2] == ["perhaps", "oldest"]}
        leaving = {op[1] for op, _ in net if op[0] == "rm"}
        for words in told:
            if words[0] == "promised" and K is not None and now < int(words[2]):
                item = self.get(items, words[1])
                if words[1] not in oldest and (item is None or item[2] <= now):
                    yield "D1 an access token ended earlier than its answer said"
            if words[0] == "named" and self.get(items, words[1]) and words[1] not in leaving:
                yield "D4 a named item stays after the end of the grant"
        named = {n for _, v in items if v[0] == "live" and len(v) > 3 for n, _ in v[3]}
        for name, item in items:
            is_over = item[0] == "acc" and item[2] <= now
            if is_over and K is not None and not {name} & (named | leaving | perhaps):
                yield "D2 an access token that is over opens the grant, and nothing will delete it"
        for who, a in zip(self.slots, slots, strict=True):
            if who == "X" and a[:2] == ("done", "invalid") and K is not None:
                yield "D3 the grant lives after it was revoked"
            if who == "P" and a[0] == "done" and self.get(items, "A1") and "A1" not in leaving:
                yield "D5 an access token that is over was presented and stays"
        at = [words[1] for words in told if words[0] == "refresh"]
        if any(at.count(t) > self.limit for t in at):
            yield "D6 more refreshes in a minute than may be"


FULL = AccessRule(**vars(TOKENS) | {"name": "FULL"})

CONFIGS = [
    # The draft, and wrong ones
    ("D1", "H H P", replace(FULL, name="draft", named="none"), {"faults": 0, "ticks": 2}),
    # The rule, exhaustively
    ("D10", "H H H", FULL, {"faults": 1, "ticks": 2}),
    ("D11", "H H H", FULL, {"faults": 1, "ticks": 2, "age": 2}),
    ("D12", "H H P", FULL, {"faults": 2, "ticks": 2}),
    ("D13", "H H X", FULL, {"faults": 1, "ticks": 2}),
    ("D14", "H H E", FULL, {"faults": 1, "ticks": 2, "age": 2}),
    ("D15", "H H H2", FULL, {"faults": 1, "ticks": 1, "age": 2}),
    ("D16", "H H H", FULL, {"faults": 1, "ticks": 1, "limit": 1}),
    ("D17", "H H X", FULL, {"faults": 1, "ticks": 1, "start": "code"}),
]
# Every part of it taken away alone, or another in its place.
PARTS = [
    ("named", "none", "H H P", {"faults": 0, "ticks": 2}),
    ("named", "own", "H H H", {"faults": 0, "ticks": 2, "age": 2}),
    ("cut_short", True, "H H", {"faults": 0, "age": 2}),
    ("oldest", "before", "H H", {"faults": 1, "keep": 1, "age": 2}),
    ("expires_in", "same", "H H", {"faults": 0, "ticks": 2, "age": 2}),
    ("presented", False, "P", {"faults": 0, "ticks": 1}),
    ("at_the_end", "before", "H X", {"faults": 1, "age": 2}),
    ("at_the_end", "never", "H X", {"faults": 0}),
    ("limit", "age", "H H", {"faults": 0, "limit": 2}),
    ("limit", "none", "H H H", {"faults": 0, "limit": 2}),
]


def main(*only):
    for name, slots, rule, options in CONFIGS:
        if not only or name in only:
            more = ", ".join(f"{k}={v}" for k, v in options.items())
            model = AccessModel(tuple(slots.split()), rule, **options)
            show(explore(f"{name} {slots} | {rule.name} | {more}", model))


def without():
    for part, value, slots, options in PARTS:
        rule = replace(FULL, **{part: value})
        r = explore(part, AccessModel(tuple(slots.split()), rule, **options))
        found = "; ".join(sorted(r.traces)) or "no violation: not needed"
        print(f"[D60 FULL with {part} {value!r}] {r.states:,} states: {found}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
    if not sys.argv[1:] or sys.argv[1] == "D60":
        without()

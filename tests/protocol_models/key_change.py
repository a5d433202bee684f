"""Protocol B: cycle_key as one transaction, the `-next` cookie, several tabs, logout, an attacker.

One session O of one browser. A record is ("rec", revision, salt, user, the session that it
comes from); with `tomb` the transaction leaves a tombstone in O's place instead of nothing. Requests (slots): rotate, login (cycle, then save with
the user), view (reads, may save), logout. A browser's request takes the cookie jar as it is when it
starts; answers reach the browser in any order. An attacker's request carries O alone. Writes and reads
fail as in save.py. A -next cookie is (new key, old key it was issued for, salt of the old record that
the transaction expected). A crash of a request is one that takes no further step; its browser gets nothing.
A stranger's request carries only keys that the stranger made up.
"""

import sys
from dataclasses import dataclass, replace

from tests.protocol_models.explore import explore, send_applicable, show, unchanged


@dataclass(frozen=True)
class Rule:
    name: str
    newkey: str = "call"  # a new key for each "try" (today) | one for each "call" of cycle_key
    order: str = "old-new"  # both ids are read old first | "new-old"
    undecided: bool = True  # old record read unchanged after an unknown fate: undecided (503 with -next), or "not applied"
    unknown: bool = True  # both ids unreadable: 503 with -next (1a.13), or a plain 503 (today)
    settle: str = "drop"  # old record live beside -next: "drop" -next | "bump" the record | "keep" -next, write nothing
    reuse: bool = (
        False  # (rejected) a rotation that carries a -next for its key moves to that same key
    )
    bind: bool = False  # -next counts only beside the old key that it was issued for
    ops5xx: bool = (
        False  # every answer, 5xx too, carries the key that its request changed to or settled on
    )
    stale: str = "django"  # a cookie that opens nothing: "django" deletes it | "leave" it alone
    tomb: bool = False  # the transaction leaves a tombstone; a cookie of one: 503, no cookie touched, no session begun
    every: bool = False  # a successful rotation's answer carries -next too, not only the 503
    multi: bool = False  # -next cookies of different new keys stand side by side (the name has a part of the new id)
    strict: bool = False  # logout's delete that finds no record, but a tombstone: not acknowledged, 503 (else 200)
    leak: bool = False  # (rejected) the old id leads whoever comes with the old key to the new one
    follow: str = "all"  # -next cookies of a key that opens nothing: "all" are followed | "moved": all of them, but
    # only where a tombstone is stored under that key | "first": only the first one


TRIES = 2
MADE_UP = ("Z", (("Y1", "Z", ""), ("Y2", "Z", ""), ("Y3", "Y1", "")))  # a stranger's cookies
READS_MAX = 2  # for cookies that somebody made up


class Model:
    def __init__(
        self,
        slots,
        rule,
        *,
        faults,
        signed_in=True,
        lost_answers=0,
        saves=True,
        one_tab=False,
        after=True,
        planted="",
    ):
        self.slots, self.R, self.F0, self.signed_in = slots, rule, faults, signed_in
        self.lost, self.saves, self.one_tab = lost_answers, saves, one_tab
        self.after = after  # a rotating request may save once more under the new key
        # What an attacker put into the browser: "next": O and a -next for it, of a key that it knows;
        # "session": a -next with the key of its own live session, not knowing O.
        self.planted = planted

    # ---- state: (store, net, F, jar, slots, lost answers left, attacker's keys, logout acknowledged, ever settled)
    def initial(self):
        store = (("O", ("rec", 1, "s0", 1 if self.signed_in else 0, "O")),)
        jar = (
            "O",
            {"": (), "next": (("X", "O", "s0"),), "session": (("X", "?", "?"),)}[self.planted],
        )
        if self.planted == "session":
            store = (*store, ("X", ("rec", 1, "x0", 2, "X")))
        return (
            store,
            (),
            self.F0,
            jar,
            tuple(("idle",) for _ in self.slots),
            self.lost,
            ("O", "X") if self.planted else ("O",),
            "",
        )

    # ---- the store
    @staticmethod
    def get(store, key):
        return next((v for k, v in store if k == key), None)

    @staticmethod
    def put(store, key, item):
        rest = [(k, v) for k, v in store if k != key]
        if item is not None:
            rest.append((key, item))
        return tuple(sorted(rest))

    def rec(self, store, key):
        item = self.get(store, key)
        return item if item and item[0] == "rec" else None

    def holds(self, store, op):
        item = self.rec(store, op[1])
        if op[0] == "del":
            return item is not None  # of a record only, never of a tombstone
        ok = item is not None and item[1:3] == op[2]
        return ok and (op[0] == "put" or self.get(store, op[3]) is None)

    def apply(self, store, op):
        if op[0] == "put":
            return self.put(store, op[1], op[3])
        if op[0] == "del":
            return self.put(store, op[1], None)
        return self.put(
            self.put(
                store, op[1], ("tomb", self.leads(op[3])) if self.R.tomb or self.R.leak else None
            ),
            op[3],
            op[4],
        )

    def leads(self, new):
        return new if self.R.leak else ""

    def send(self, store, net, F, op):
        if self.holds(store, op):
            yield from send_applicable(store, net, F, op, self.apply(store, op))
        else:
            yield (
                ("nothing there to delete" if op[0] == "del" else "condition failed"),
                store,
                net,
                F,
                "cond",
            )
            if F:
                yield "condition failed, answer LOST", store, net, F - 1, "unknown"

    # ---- cookies
    def bound(self, key, nexts):
        return tuple(n for n in nexts if not self.R.bind or n[1] == key)

    def followed(self, key, nexts, item):
        """The -next cookies of a key that are followed, by what is stored under it."""
        found = self.bound(key, nexts)
        if self.R.follow == "moved":
            return found if item else ()
        return found[:1] if self.R.follow == "first" else found

    def chain(self, store, key, nexts):
        """The new keys that the cookies name for an old one, directly or by another's."""
        queue, found = list(self.followed(key, nexts, self.get(store, key))), []
        while queue:
            n = queue.pop(0)
            if n[0] not in found:
                found.append(n[0])
                queue += self.followed(n[0], nexts, self.get(store, n[0]))
        return found

    def set_cookies(self, jar, ops):
        main, nexts = jar
        for what, value in ops:
            if what == "main":
                main = value
            elif value is None:
                nexts = ()
            else:
                nexts = (*[n for n in nexts if self.R.multi and n[0] != value[0]], value)
        return (main, nexts)

    # ---- steps
    def steps(self, s):
        store, net, F, jar, slots, lost, akeys, out = s
        for i, op in enumerate(net):
            yield self.done(
                f"the delayed {self.what(op)} arrives and is applied",
                self.apply(store, op),
                net[:i] + net[i + 1 :],
                F,
                jar,
                slots,
                lost,
                akeys,
                out,
            )
        for i, (who, kind) in enumerate(self.slots):
            a = slots[i]
            me = f"{'' if who == 'browser' else who + ' '}{kind} {i + 1}"
            if a[0] == "done":
                continue
            if a[0] == "resp":
                _, status, ops = a
                now = (*slots[:i], ("done", status), *slots[i + 1 :])
                told = f"{me}: answer {status}{self.cookies(ops)}"
                if who == "browser":
                    yield self.done(
                        f"{told} reaches the browser",
                        store,
                        net,
                        F,
                        self.set_cookies(jar, ops),
                        now,
                        lost,
                        akeys,
                        out,
                    )
                    if lost:
                        yield self.done(
                            f"{told} never reaches the browser",
                            store,
                            net,
                            F,
                            jar,
                            now,
                            lost - 1,
                            akeys,
                            out,
                        )
                else:
                    got = tuple(
                        sorted({*akeys, *[v if w == "main" else v[0] for w, v in ops if v]})
                    )
                    yield self.done(
                        f"{told} reaches the {who}", store, net, F, jar, now, lost, got, out
                    )
                continue
            if a[0] == "idle":
                main, nexts = {"browser": jar, "attacker": ("O", ()), "stranger": MADE_UP}[who]
                if (main is None and not nexts) or self.waits(who, slots):
                    continue
                fits = self.bound(main, nexts)
                first = (
                    ("r_new", main, nexts, fits, False, (), 0)
                    if self.R.order == "new-old" and fits
                    else ("r_old", main, nexts, ())
                )
                carried = f", next={'+'.join(n[0] for n in nexts)}" if nexts else ""
                yield self.done(
                    f"{me}: starts with cookie={main}{carried}",
                    store,
                    net,
                    F,
                    jar,
                    (*slots[:i], first, *slots[i + 1 :]),
                    lost,
                    akeys,
                    out,
                )
                continue
            for label, store2, net2, F2, b, ack in self.act(i, kind, a, store, net, F):
                yield self.done(
                    f"{me}: {label}",
                    store2,
                    net2,
                    F2,
                    jar,
                    (*slots[:i], b, *slots[i + 1 :]),
                    lost,
                    akeys,
                    ack or out,
                )

    def waits(self, who, slots):
        return (
            self.one_tab
            and who == "browser"
            and any(
                w == "browser" and b[0] not in ("idle", "done")
                for (w, _), b in zip(self.slots, slots, strict=False)
            )
        )

    def done(self, label, store, net, F, jar, slots, lost, akeys, out):
        net = tuple(
            op for op in net if self.holds(store, op)
        )  # one whose condition failed once fails for ever
        return label, (store, net, F, jar, slots, lost, akeys, out)

    @staticmethod
    def what(op):
        return {
            "tx": f"key change {op[1]}->{op[3] if len(op) > 3 else ''}",
            "put": f"save of {op[1]}",
            "del": f"delete of {op[1]}",
        }[op[0]]

    @staticmethod
    def cookies(ops):
        return "".join(f", cookie={v}" if w == "main" else f", next={v and v[0]}" for w, v in ops)

    def failed(self, status, ops=(), keys=()):
        """An error's answer. `ops`: the cookie it settled on; `keys`: those that it must carry in any case."""
        return ("resp", status, (*(ops if self.R.ops5xx else ()), *keys))

    def act(self, i, kind, a, store, net, F):
        """Yield (label, store, net, F, slot, logout acknowledged)."""
        stay = unchanged(store, net, F)
        fail = unchanged(store, net, F - 1)
        pc, R = a[0], self.R
        if pc == "r_old":
            _, main, nexts, ops = a
            item, fits = self.get(store, main), self.bound(main, nexts)
            queue = self.followed(main, nexts, item)
            if F:
                yield fail(f"reads {main}: no answer; told 503", self.failed(503, ops))
            if item and item[0] == "rec":
                if fits and R.settle == "drop":
                    yield stay(
                        f"reads {main}: there; drops -next",
                        self.settled(kind, main, item, (("next", None),), nexts),
                    )
                elif R.settle == "bump" and any(n[2] == item[2] for n in fits):
                    yield stay(
                        f"reads {main}: there, as a key change expects it",
                        ("bump", main, nexts, item),
                    )
                else:
                    yield stay(f"reads {main}: there", self.settled(kind, main, item, ops, nexts))
            elif queue and R.order == "old-new":
                yield stay(
                    f"reads {main}: {'moved' if item else 'nothing'}",
                    ("r_new", main, nexts, queue, bool(item), ops, 1),
                )
            elif item and R.leak:
                yield stay(
                    f"reads {main}: moved, is led to the new key",
                    ("r_old", item[1], (), (("main", item[1]),)),
                )
            else:
                yield from self.nothing(i, kind, main, nexts, bool(item) and R.tomb, store, net, F)
        elif pc == "r_new":
            _, main, nexts, queue, moved, ops, reads = a
            key = queue[0][0]
            item = self.get(store, key)
            if F:
                yield fail(f"reads {key}: no answer; told 503", self.failed(503, ops))
            if item and item[0] == "rec":
                drop = (("next", None),) if R.settle == "drop" else ()
                yield stay(
                    f"reads {key}: there, settles on it",
                    self.settled(kind, key, item, (("main", key), *drop), nexts),
                )
                return
            more = self.followed(key, nexts, item) if R.bind else ()
            rest = (*queue[1:], *(n for n in more if n not in queue))
            label = f"reads {key}: {'moved' if item else 'nothing'}"
            if rest:
                yield stay(label, ("r_new", main, nexts, rest, moved or bool(item), ops, reads + 1))
            elif R.order == "new-old":
                yield label, store, net, F, ("r_old", main, (), (("next", None),)), ""
            else:
                yield from self.nothing(
                    i, kind, main, nexts, (moved or bool(item)) and R.tomb, store, net, F
                )
        elif pc == "bump":
            _, main, nexts, item = a
            new = ("rec", item[1] + 1, f"b{i}.{item[1]}", *item[3:])
            for label, st, n, f, reply in self.send(store, net, F, ("put", main, item[1:3], new)):
                b = {
                    "ok": self.settled(kind, main, new, (), nexts),
                    "cond": ("r_old", main, nexts, ()),
                    "unknown": self.failed(503),
                }[reply]
                yield f"writes {main} anew (revision {new[1]}): {label}", st, n, f, b, ""
        elif pc == "view":
            _, cur, item, ops = a
            yield "answers", store, net, F, ("resp", 200, ops), ""
            if self.saves:
                new = ("rec", item[1] + 1, f"v{i}.{item[1]}", *item[3:])
                for label, st, n, f, reply in self.send(
                    store, net, F, ("put", cur, item[1:3], new)
                ):
                    if reply == "cond":
                        now = self.rec(st, cur)
                        b = ("view", cur, now, ops) if now else self.failed(400, ops)
                    else:  # Django sends the session cookie again with every save.
                        b = (
                            ("resp", 200, (*ops, ("main", cur)))
                            if reply == "ok"
                            else self.failed(503, ops)
                        )
                    yield f"saves {cur}: {label}", st, n, f, b, ""
        elif pc in ("tx", "x_old", "x_new", "after"):
            yield from self.rotating(i, kind, a, store, net, F)
        elif pc in ("del", "d_read"):
            yield from self.leaving(a, store, net, F)
        elif pc == "anon":
            key = f"M{i + 1}"
            yield (
                f"stores something: a new session {key}",
                self.put(store, key, ("rec", 1, f"m{i}", 0, key)),
                net,
                F,
                ("resp", 200, (("main", key),)),
                "",
            )

    def settled(self, kind, cur, item, ops, nexts):
        if kind == "view":
            return ("view", cur, item, ops)
        if kind in ("rotate", "login"):
            return ("tx", cur, item, ops, self.bound(cur, nexts) if self.R.reuse else (), 1)
        return ("del", cur, item[4], 1)

    def nothing(self, i, kind, main, nexts, moved, store, net, F):
        stay = unchanged(store, net, F)
        what = "moved, and no cookie says where" if moved else "opens nothing"
        if moved:
            yield f"{what}; told 503", store, net, F, ("resp", 503, ()), ""
        elif kind == "logout":
            yield stay(f"{what}; page says signed out", ("resp", 200, (("main", None),)), "weak")
        else:
            yield stay(
                f"{what}; answers as to a stranger",
                ("resp", 200, (("main", None),) if self.R.stale == "django" else ()),
            )
            yield f"{what}", store, net, F, ("anon", main), ""

    # ---- cycle_key
    def rotating(self, i, kind, a, store, net, F):
        stay = unchanged(store, net, F)
        fail = unchanged(store, net, F - 1)
        R, pc = self.R, a[0]
        if pc == "after":
            _, cur, old, item, ops = a
            new = (
                "rec",
                item[1] + 1,
                f"a{i}.{item[1]}",
                1 if kind == "login" else item[3],
                item[4],
            )
            told = (("main", cur), *((("next", (cur, old, "")),) if R.every else ()))
            carried = (*ops, *told) if R.ops5xx else ()
            if kind == "rotate":
                yield "answers", store, net, F, ("resp", 200, (*ops, *told)), ""
                if not self.after:
                    return
            for label, st, n, f, reply in self.send(store, net, F, ("put", cur, item[1:3], new)):
                b = {
                    "ok": ("resp", 200, (*ops, *told)),
                    "cond": ("resp", 400, carried),
                    "unknown": ("resp", 503, carried),
                }[reply]
                yield f"saves {cur}: {label}", st, n, f, b, ""
            return
        _, cur, item, ops, reused, k = a
        new = reused[0][0] if reused else f"N{i + 1}.{k}" if R.newkey == "try" else f"N{i + 1}"
        offer = (("next", (new, cur, item[2])),)
        if pc == "tx":
            made = ("rec", 1, f"c{i}.{k}", *item[3:])
            for label, st, n, f, reply in self.send(
                store, net, F, ("tx", cur, item[1:3], new, made)
            ):
                b = (
                    ("after", new, cur, made, ops)
                    if reply == "ok"
                    else ("x_old" if R.order == "old-new" else "x_new", cur, item, ops, reused, k)
                )
                yield f"moves {cur}@{item[1]} to {new}: {label}", st, n, f, b, ""
            return
        if F:
            yield fail(
                f"reads {cur if pc == 'x_old' else new}: no answer; told 503",
                self.failed(503, ops, offer if R.unknown else ()),
            )
        if pc == "x_old":
            now = self.get(store, cur)
            if now and now[0] == "rec" and now[2] == item[2]:
                if R.undecided:
                    yield stay(
                        f"reads {cur}: unchanged, undecided; told 503", self.failed(503, ops, offer)
                    )
                else:
                    yield stay(
                        f"reads {cur}: unchanged, taken for not applied; told 503",
                        self.failed(503, ops),
                    )
                if k < TRIES:
                    yield stay(
                        f"reads {cur}: unchanged, tries again", ("tx", cur, now, ops, reused, k + 1)
                    )
            elif now and now[0] == "rec":
                # Every earlier try is dead: it named an older revision.
                if k < TRIES:
                    yield stay(
                        f"reads {cur}: revision {now[1]}, merges, tries again",
                        ("tx", cur, now, ops, reused, k + 1),
                    )
                else:
                    yield stay(
                        f"reads {cur}: revision {now[1]}, tries exhausted; told 503",
                        self.failed(503, ops),
                    )
            elif R.order == "old-new":
                yield stay(
                    f"reads {cur}: {'moved' if now else 'nothing'}",
                    ("x_new", cur, item, ops, reused, k),
                )
            else:
                yield stay(
                    f"reads {cur}: {'moved' if now else 'nothing'}; told it ended",
                    self.failed(400, ops),
                )
        else:
            now = self.get(store, new)
            if now and now[0] == "rec":
                yield stay(f"reads {new}: there, success", ("after", new, cur, now, ops))
            elif R.order == "new-old":
                yield stay(f"reads {new}: nothing", ("x_old", cur, item, ops, reused, k))
            else:
                yield stay(
                    f"reads {new}: {'moved' if now else 'nothing'}; told it ended",
                    self.failed(400, ops),
                )

    # ---- logout: deletes the record that it settled on
    def leaving(self, a, store, net, F):
        stay = unchanged(store, net, F)
        pc, key, lineage, k = a
        ended = (
            (
                "resp",
                200,
                (("main", None), ("next", None)) if self.R.settle == "drop" else (("main", None),),
            ),
            f"ack {lineage}",
        )
        again = (("resp", 503, ()), "")
        if pc == "del":
            for label, st, n, f, reply in self.send(store, net, F, ("del", key)):
                if reply == "unknown":
                    after = (("d_read", key, lineage, k), "")
                else:
                    # Nothing to delete: with tombstones it is known whether it was moved; without, it is not.
                    moved = reply == "cond" and (self.get(st, key) is not None or not self.R.tomb)
                    after = again if moved and self.R.strict else ended
                yield f"deletes {key}: {label}", st, n, f, *after
            return
        now = self.get(store, key)
        if F:
            yield f"reads {key}: no answer; told 503", store, net, F - 1, *again
        if now and now[0] == "rec" and k < TRIES:
            yield stay(f"reads {key}: there, deletes it again", ("del", key, lineage, k + 1))
        elif now and now[0] == "rec":
            yield f"reads {key}: there; told 503", store, net, F, *again
        else:
            moved = now is not None or not self.R.tomb
            yield (
                f"reads {key}: {'moved' if now else 'gone'}",
                store,
                net,
                F,
                *(again if moved and self.R.strict else ended),
            )

    # ---- properties
    def faults_in(self, s):
        store, _net, F, jar, slots, lost, akeys, out = s
        live = {k for k, v in store if v[0] == "rec" and v[3] == 1}
        if len(live) > 1:
            yield "P4 two live records of one session"
        if out.startswith("ack") and any(v[0] == "rec" and v[4] == out[4:] for _, v in store):
            yield "P3 a session lives after an acknowledged logout"
        if out == "weak" and any(v[4] == "O" for k, v in store if k in live):
            yield "P3w a session lives though a page said signed out (its cookie opened nothing)"
        if any(
            who == "stranger" and a[0] == "r_new" and a[6] >= READS_MAX
            for (who, _), a in zip(self.slots, slots, strict=True)
        ):
            yield f"P6 more than {READS_MAX} reads for cookies that somebody made up"
        if self.planted == "session" and jar[0] == "X":
            yield "P5 the browser was moved to a session that an attacker planted"
        over = [
            (kind, a) for (who, kind), a in zip(self.slots, slots, strict=False) if who == "browser"
        ]
        if live & set(akeys) and (
            not self.signed_in
            or any(k == "rotate" and a[0] in ("done", "resp") and a[1] == 200 for k, a in over)
        ):
            yield "P2 the attacker holds a key of the signed-in session"
        signed_in = self.signed_in or ("login", ("done", 200)) in over
        attacked = any(
            who == "attacker" and kind in ("logout", "rotate") for who, kind in self.slots
        )  # as the session's holder
        if (
            signed_in
            and not attacked
            and all(a[0] in ("idle", "done") for a in slots)
            and not any(k == "logout" and a[0] != "idle" for k, a in over)
        ) and not self.opens(store, jar, live):
            which = (
                "the answer to the browser was lost"
                if lost < self.lost
                else "an outage"
                if F < self.F0
                else "NO fault, only two requests at once"
            )
            yield f"P1 signed out: {which}"

    def opens(self, store, jar, live):
        main, nexts = jar
        if self.rec(store, main):
            return main in live
        return any(k in live for k in self.chain(store, main, nexts))


TODAY = Rule("today's code", newkey="try", unknown=False, undecided=False)
DRAFT = Rule("draft 1a.13", newkey="try", undecided=False)
R1 = replace(DRAFT, name="R1: one new key a call", newkey="call")
R2 = replace(R1, name="R2: R1 + unchanged is undecided", undecided=True)
R3 = replace(
    R2,
    name="R3: R2 + -next bound, never dropped, side by side",
    settle="keep",
    bind=True,
    multi=True,
)
R4 = replace(R3, name="R4: R3 + every answer carries the key", ops5xx=True)
R5 = replace(R4, name="R5: R4 + tombstone", tomb=True)
R6 = replace(R5, name="R6: R5 + -next with every rotation", every=True)
R7 = replace(R6, name="R7: R6 + logout tells moved from ended", strict=True)
FULL = replace(R7, name="FULL: R7 + -next followed only from a tombstone", follow="moved")

WHO = {"!": "attacker", "?": "stranger"}


def S(text):
    return [(WHO.get(k[0], "browser"), k.lstrip("!?")) for k in text.split()]


def main(*only):
    for name, slots, rule, options in CONFIGS:
        if not only or name in only:
            kinds = " | ".join(f"{'' if w == 'browser' else w + ' '}{k}" for w, k in slots)
            more = ", ".join(k if v is True else f"{k}={v}" for k, v in options.items())
            show(explore(f"{name} {kinds} | {rule.name} | {more}", Model(slots, rule, **options)))


LEAVE = replace(R4, name="R4 + a dead cookie is left alone", stale="leave")
NO_BIND = replace(FULL, name="FULL without binding", bind=False)
SINGLE = replace(FULL, name="FULL with one -next cookie", multi=False)
REUSE = replace(FULL, name="rejected: the key of -next reused", reuse=True)
BUMP = replace(FULL, name="FULL with a bump instead of keeping", settle="bump")
BUMP1 = replace(
    R4, name="R4 with a bump instead of keeping, one -next cookie", settle="bump", multi=False
)
FIRST = replace(FULL, name="FULL with only the first -next followed", follow="first")
LEAK = replace(R4, name="rejected: the old id leads to the new key", leak=True)

CONFIGS = [
    # The ladder: each rung's violation, and the rule that removes it. One tab, only outages:
    ("B1", S("rotate view view"), TODAY, {"faults": 2, "one_tab": True, "after": False}),
    ("B2", S("rotate view view"), DRAFT, {"faults": 2, "one_tab": True, "after": False}),
    ("B3", S("rotate view view"), R1, {"faults": 2, "one_tab": True, "after": False}),
    ("B4", S("rotate view view"), R2, {"faults": 2, "one_tab": True, "after": False}),
    (
        "B5",
        S("rotate view view"),
        replace(R3, name="R3, the new id read first", order="new-old"),
        {"faults": 2, "one_tab": True, "after": False},
    ),
    ("B6", S("rotate view view"), R3, {"faults": 2, "one_tab": True}),
    ("B7", S("rotate view view"), R4, {"faults": 3, "one_tab": True}),
    ("B8", S("rotate rotate view"), R4, {"faults": 3, "one_tab": True}),
    # Several tabs:
    ("B9", S("rotate view"), R4, {"faults": 1}),
    ("B10", S("rotate view"), LEAVE, {"faults": 1}),
    ("B11", S("rotate view"), R5, {"faults": 1}),
    ("B12", S("rotate rotate view"), SINGLE, {"faults": 2}),
    # Logout:
    ("B13", S("rotate logout"), R6, {"faults": 1}),
    (
        "B14",
        S("rotate logout"),
        replace(LEAVE, name="R4 + strict logout, no tombstone", strict=True),
        {"faults": 1},
    ),
    # An attacker:
    ("B15", S("rotate !view"), LEAK, {"faults": 1}),
    ("B16", S("login"), REUSE, {"faults": 1, "signed_in": False, "planted": "next"}),
    ("B17", S("rotate view"), NO_BIND, {"faults": 0, "planted": "session"}),
    # What no rule of this kind can heal:
    ("B18", S("rotate view"), FULL, {"faults": 1, "lost_answers": 1}),
    # Which -next cookies are followed: one is too few, all are too many.
    ("B19", S("rotate rotate view"), FIRST, {"faults": 3}),
    ("B43", S("rotate ?view"), R7, {"faults": 1}),
    # The corrected rule, exhaustively:
    ("B20", S("rotate view view"), FULL, {"faults": 3}),
    ("B21", S("rotate rotate view"), FULL, {"faults": 3}),
    ("B22", S("rotate rotate logout"), FULL, {"faults": 3}),
    ("B23", S("rotate logout view"), FULL, {"faults": 3}),
    ("B24", S("rotate logout logout"), FULL, {"faults": 3}),
    ("B25", S("rotate view !view"), FULL, {"faults": 3}),
    ("B26", S("rotate view !view !logout"), FULL, {"faults": 2}),
    ("B27", S("login view !view !rotate"), FULL, {"faults": 2, "signed_in": False}),
    ("B28", S("login view !view"), FULL, {"faults": 3, "signed_in": False, "planted": "next"}),
    ("B29", S("view logout view rotate"), FULL, {"faults": 2, "planted": "session"}),
    ("B38", S("rotate view view"), FULL, {"faults": 2, "planted": "session"}),
    ("B30", S("login rotate view"), FULL, {"faults": 3, "signed_in": False}),
    ("B31", S("login rotate logout"), FULL, {"faults": 3, "signed_in": False}),
    ("B32", S("rotate rotate view logout"), FULL, {"faults": 2}),
    ("B33", S("rotate rotate rotate"), FULL, {"faults": 3}),
    ("B34", S("rotate rotate rotate view"), FULL, {"faults": 2}),
    ("B35", S("rotate rotate view view"), FULL, {"faults": 2}),
    ("B36", S("rotate view ?view"), FULL, {"faults": 3}),
    ("B37", S("login ?view ?rotate"), FULL, {"faults": 2, "signed_in": False}),
    # The other right rule: a bump instead of keeping -next (no bound on the delay, one write more).
    ("B40", S("rotate rotate view"), BUMP1, {"faults": 3, "one_tab": True}),
    ("B41", S("rotate rotate view"), BUMP, {"faults": 3}),
    ("B42", S("rotate rotate logout"), BUMP, {"faults": 3}),
]

# Every part of FULL taken away alone: what then breaks (which says that it is needed).
PARTS = {
    "newkey": "try",
    "order": "new-old",
    "undecided": False,
    "unknown": False,
    "settle": "drop",
    "bind": False,
    "ops5xx": False,
    "tomb": False,
    "every": False,
    "multi": False,
    "strict": False,
    "follow": "all",
}
SCENES = [
    (S("rotate rotate view"), {"faults": 2}),
    (S("rotate rotate logout"), {"faults": 2}),
    (S("rotate logout view"), {"faults": 2}),
    (S("view logout view"), {"faults": 0, "planted": "session"}),
    (S("rotate view"), {"faults": 0, "planted": "session"}),
    (S("login view !view"), {"faults": 2, "signed_in": False, "planted": "next"}),
    (S("rotate ?view"), {"faults": 1}),
]


def without():
    for part, value in PARTS.items():
        found, states = {}, 0
        for slots, options in SCENES:
            r = explore(part, Model(slots, replace(FULL, **{part: value}), **options))
            states += r.states
            for b, path in r.traces.items():
                if b not in found or len(path) < len(found[b]):
                    found[b] = path
        print(
            f"[B60 FULL without {part} ({value!r})] {states:,} states: "
            + ("; ".join(sorted(found)) or "no violation: not needed"),
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
    if not sys.argv[1:] or sys.argv[1] == "B60":
        without()

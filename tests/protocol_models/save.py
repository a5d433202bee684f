"""Protocol A: a save with merge on conflict, beside other savers, a logout and a key change.

One session, top-level keys x, y. A record is (revision, salt, ancestors, content, log): `log` is a
ghost, the writers whose change went into this content. Requests: W (load, change, save), D (delete),
C (cycle_key to the id `n`, one transaction). Every write may be acknowledged; applied with its answer
lost; not applied and erring; or delayed and applied at any later step if its condition holds then.
A crash of a request at any step is covered: properties are checked in every state, and a request that
crashed is one that takes no further step.
"""

import sys
from itertools import permutations

from tests.protocol_models.explore import explore, send_applicable, show

DEL = None
KEYS = ("x", "y")


class Rule:
    def __init__(
        self,
        name,
        *,
        unknown="read",
        own="all",
        base_seen=True,
        unchanged="fresh",
        salt="attempt",
        lineage="base",
    ):
        self.name = name
        self.unknown = unknown  # "resend": the SDK sends the same bytes again (today) | "read"
        self.own = own  # whose salt counts: "record" (last attempt, record only: today),
        #                             "last" (last attempt, record or ancestors), "all" (every attempt of this save)
        self.base_seen = (
            base_seen  # absence proves "not applied" only if the expected salt is still to be seen
        )
        self.unchanged = unchanged  # record unchanged after an unknown fate: "fresh" (new salt), "same" bytes, "giveup"
        self.salt = (
            salt  # "attempt": fresh at each try | "save": one for all tries of a save | "request"
        )
        self.lineage = lineage  # ancestors are of the record that the condition names ("base"), or of the "first" load


def changed(base, cur):
    return [i for i in range(len(KEYS)) if base[i] != cur[i]]


def merge(base, ours, theirs):
    """sessions_kms/session/merging.py: a key deleted on either side stays deleted; else ours stands."""
    out = list(theirs)
    for i in changed(base, ours):
        if ours[i] is DEL:
            out[i] = DEL
        elif not (base[i] is not DEL and theirs[i] is DEL):
            out[i] = ours[i]
    return tuple(out)


class Model:
    def __init__(
        self,
        specs,
        rule,
        *,
        faults,
        ancestors=8,
        tries=3,
        start=(0, 0),
        strict=False,
        read_fail=True,
        all_old=True,
    ):
        self.specs, self.rule, self.F, self.K, self.tries = specs, rule, faults, ancestors, tries
        self.start, self.strict, self.read_fail, self.all_old = start, strict, read_fail, all_old

    # ---------------------------------------------------------------- the store
    @staticmethod
    def holds(store, op):
        o, n = store
        if op[0] == "put":
            rec = o if op[1] == "o" else n
            return rec is not None and (rec[0], rec[1]) == op[2]
        if op[0] == "tx":
            return o is not None and (o[0], o[1]) == op[1] and n is None
        return (o if op[1] == "o" else n) is not None  # del: unconditional; a no-op on nothing

    @staticmethod
    def applied(store, op):
        o, n = store
        if op[0] == "put":
            return (op[3], n) if op[1] == "o" else (o, op[3])
        if op[0] == "tx":
            return (None, op[2])
        return (None, n) if op[1] == "o" else (o, None)

    def send(self, store, net, F, op):
        """Yield (what happened, store, net, F, reply)."""
        ok = self.holds(store, op)
        unconditional = op[0] == "del"
        if ok:
            yield from send_applicable(store, net, F, op, self.applied(store, op))
        elif unconditional:
            yield "acknowledged (nothing there)", store, net, F, "ok"
        else:
            yield "condition failed", store, net, F, "cond"
            if F:
                yield "condition failed, answer LOST", store, net, F - 1, "unknown"

    # ---------------------------------------------------------------- states
    def initial(self):
        rec = (1, "s0", (), self.start, ())
        return ((rec, None), (), self.F, tuple(self.idle(s) for s in self.specs))

    @staticmethod
    def idle(spec):
        return ("idle",)

    def steps(self, state):
        store, net, F, acts = state
        for i, op in enumerate(net):
            rest = net[:i] + net[i + 1 :]
            yield self.done(
                f"the delayed {self.name(op)} arrives and is applied",
                self.applied(store, op),
                rest,
                F,
                acts,
            )
        for i, spec in enumerate(self.specs):
            a = acts[i]
            for label, store2, net2, F2, b in self.act(i, spec, a, store, net, F, acts):
                yield self.done(
                    f"{self.who(i)}: {label}", store2, net2, F2, (*acts[:i], b, *acts[i + 1 :])
                )

    def done(self, label, store, net, F, acts):
        # A write whose condition no longer holds never can again: revisions rise, salts are fresh.
        net = tuple(op for op in net if self.holds(store, op))
        return label, (store, net, F, acts)

    def who(self, i):
        return f"{self.specs[i][0]}{i + 1}"

    @staticmethod
    def name(op):
        return {"put": "save", "tx": "key change", "del": "delete"}[op[0]] + (
            f" (salt {op[3][1]})" if op[0] == "put" else ""
        )

    def act(self, i, spec, a, store, net, F, acts):
        kind = {"W": self.writer, "D": self.deleter, "C": self.cycler}[spec[0]]
        yield from kind(i, spec, a, store, net, F, acts)

    # ---------------------------------------------------------------- a saving request
    # ("idle",) | ("run", pc, id, k, base, cur, seen, rt, pend, tried, nth save, first load) | (outcome, seen, rt)
    def writer(self, i, spec, a, store, net, F, acts):
        if a[0] == "idle":
            rt = tuple(j for j, b in enumerate(acts) if b[0] == "ok" and self.specs[j][0] == "W")
            cycled = any(
                s[0] == "C" and b[0] == "ok" for s, b in zip(self.specs, acts, strict=False)
            )
            for sid in ("o", "n") if cycled else ("o",):
                rec = store[0] if sid == "o" else store[1]
                if rec is None:
                    yield f"loads {sid}: no session", store, net, F, ("none", (), rt)
                    continue
                cur = list(rec[3])
                for key, value in spec[1].items():
                    cur[KEYS.index(key)] = value
                yield (
                    f"loads {sid} (revision {rec[0]}, {self.text(rec[3])}), changes {self.text_change(spec[1])}",
                    store,
                    net,
                    F,
                    ("run", "send", sid, 1, rec, tuple(cur), rec[4], rt, False, (), 1, rec),
                )
            return
        if a[0] != "run":
            return
        _, pc, sid, k, base, cur, seen, rt, pend, tried, nth, first = a
        rec = store[0] if sid == "o" else store[1]
        if pc == "send":
            salt = {"request": self.who(i), "save": f"{self.who(i)}.{'ab'[nth - 1]}"}.get(
                self.rule.salt, f"{self.who(i)}.{'ab'[nth - 1]}{k}"
            )
            root = base if self.rule.lineage == "base" else first
            new = (base[0] + 1, salt, ((root[1], *root[2]))[: self.K], cur, (*base[4], (i, nth)))
            op = ("put", sid, (base[0], base[1]), new)
            tried2 = tried if salt in tried else (*tried, salt)
            for label, store2, net2, F2, reply in self.send(store, net, F, op):
                text = f"saves revision {new[0]} (salt {salt}) over {base[0]}: {label}"
                now = store2[0] if sid == "o" else store2[1]
                if reply == "ok":
                    yield (
                        text,
                        store2,
                        net2,
                        F2,
                        self.saved(
                            i,
                            spec,
                            ("run", pc, sid, k, base, cur, seen, rt, pend, tried2, nth, first),
                        ),
                    )
                elif (
                    reply == "cond" and not self.all_old
                ):  # an engine that does not return the item: read it
                    yield (
                        text,
                        store2,
                        net2,
                        F2,
                        ("run", "read", sid, k, base, cur, seen, rt, pend, tried2, nth, first),
                    )
                elif reply == "cond":
                    t, b = self.judge(
                        i,
                        spec,
                        ("run", pc, sid, k, base, cur, seen, rt, pend, tried2, nth, first),
                        now,
                    )
                    yield f"{text}; {t}", store2, net2, F2, b
                else:
                    pc2 = "send" if self.rule.unknown == "resend" and k < 2 else "read"
                    yield (
                        text,
                        store2,
                        net2,
                        F2,
                        ("run", pc2, sid, k, base, cur, seen, rt, True, tried2, nth, first),
                    )
        elif pc == "read":
            t, b = self.judge(i, spec, a, rec)
            yield f"reads: {t}", store, net, F, b
            if F and self.read_fail:
                yield "reads: no answer; told 503", store, net, F - 1, ("503", seen, rt)

    def saved(self, i, spec, a):
        """The request is told success; a second save of it starts from what the first one wrote."""
        _, _pc, sid, _k, base, cur, seen, rt, _pend, tried, nth, _first = a
        if nth == len(spec) - 1:
            return ("ok", seen, rt)
        wrote = (base[0] + 1, tried[-1], ((base[1], *base[2]))[: self.K], cur, (*base[4], (i, nth)))
        cur2 = list(cur)
        for key, value in spec[2].items():
            cur2[KEYS.index(key)] = value
        kept = tried if self.rule.salt == "request" else ()
        return ("run", "send", sid, 1, wrote, tuple(cur2), seen, rt, False, kept, 2, wrote)

    def judge(self, i, spec, a, rec):
        """Decide what a read (or the item of a failed condition) says of this save."""
        _, _pc, sid, k, base, cur, seen, rt, pend, tried, nth, first = a
        if rec is None:
            return "no session; told UpdateError", ("gone", seen, rt)
        mine = tried if self.rule.own == "all" else tried[-1:]
        where = (rec[1],) if self.rule.own == "record" else (rec[1], *rec[2])
        if any(s in where for s in mine):
            return (
                f"own salt {'in the record' if rec[1] in mine else 'among ancestors'}; told SUCCESS",
                self.saved(i, spec, a),
            )
        if rec[1] == base[1]:  # unchanged: undecided, it may still arrive
            if self.rule.unchanged == "giveup" or k >= self.tries:
                return "unchanged; told 503", ("503", seen, rt)
            k2 = k if self.rule.unchanged == "same" else k + 1
            return "unchanged, tries again", (
                "run",
                "send",
                sid,
                k2,
                base,
                cur,
                seen,
                rt,
                pend,
                tried,
                nth,
                first,
            )
        if pend and self.rule.base_seen and base[1] not in rec[2]:
            return "the expected salt is no longer among ancestors: cannot tell; told 503", (
                "503",
                seen,
                rt,
            )
        if k >= self.tries:
            return "conflict, tries exhausted; told 503", ("503", seen, rt)
        merged = merge(base[3], cur, rec[3])
        # A new base: every earlier attempt of this save is dead, for its condition named an older revision.
        return (
            f"conflict, merges over revision {rec[0]} ({self.text(rec[3])}) to {self.text(merged)}",
            ("run", "send", sid, k + 1, rec, merged, seen, rt, False, tried, nth, first),
        )

    # ---------------------------------------------------------------- logout
    def deleter(self, i, spec, a, store, net, F, acts):
        if a[0] in ("idle", "again"):
            for label, store2, net2, F2, reply in self.send(store, net, F, ("del", "o")):
                yield (
                    f"deletes o: {label}",
                    store2,
                    net2,
                    F2,
                    (("ok",) if reply == "ok" else ("read",)),
                )
        elif a[0] == "read":
            if store[0] is None:
                yield "reads o: gone; told SUCCESS", store, net, F, ("ok",)
            else:
                yield "reads o: there; sends the delete again", store, net, F, ("again",)
            if F and self.read_fail:
                yield "reads o: no answer; told 503", store, net, F - 1, ("503",)

    # ---------------------------------------------------------------- cycle_key (details: key_change.py)
    def cycler(self, i, spec, a, store, net, F, acts):
        if a[0] == "idle":
            if store[0] is not None:
                yield (
                    f"loads o (revision {store[0][0]})",
                    store,
                    net,
                    F,
                    ("run", "send", 1, store[0]),
                )
        elif a[0] == "run" and a[1] == "send":
            _, _, k, base = a
            new = (1, f"c.{k}", ((base[1], *base[2]))[: self.K], base[3], base[4])
            for label, store2, net2, F2, reply in self.send(
                store, net, F, ("tx", (base[0], base[1]), new)
            ):
                yield (
                    f"moves o@{base[0]} to n: {label}",
                    store2,
                    net2,
                    F2,
                    ("ok",) if reply == "ok" else ("run", "old", k, base),
                )
        elif a[0] == "run" and a[1] == "old":
            _, _, k, base = a
            if store[0] is None:
                yield "reads o: gone", store, net, F, ("run", "new", k, base)
            elif k < self.tries:
                yield (
                    f"reads o: revision {store[0][0]}; tries again",
                    store,
                    net,
                    F,
                    ("run", "send", k + 1, store[0]),
                )
            else:
                yield "reads o: there; told 503", store, net, F, ("503",)
        elif a[0] == "run":
            yield (
                "reads n: there; told SUCCESS" if store[1] else "reads n: nothing; told it ended",
                store,
                net,
                F,
                ("ok",) if store[1] else ("gone",),
            )

    # ---------------------------------------------------------------- properties
    def faults_in(self, state):
        store, _net, _F, acts = state
        live = store[0] or store[1]
        if store[0] and store[1]:
            yield "two live records of one session"
        deleted = any(s[0] == "D" and b[0] == "ok" for s, b in zip(self.specs, acts, strict=False))
        deleting = any(
            s[0] == "D" and b[0] != "idle" for s, b in zip(self.specs, acts, strict=False)
        )
        if deleted and store[0]:
            yield "P2 revived after an acknowledged delete"
        if deleted and store[1]:
            yield "P2b acknowledged logout, yet the session lives on under the new key"
        if not deleting and live is None:
            yield "the session vanished without a logout"
        writers = [i for i, s in enumerate(self.specs) if s[0] == "W"]
        acked = [i for i in writers if acts[i][0] == "ok"]
        if live is None:
            return
        for i in writers:
            told = (
                len(self.specs[i]) - 1
                if i in acked
                else acts[i][10] - 1
                if acts[i][0] == "run"
                else 0
            )
            if any((i, nth) not in live[4] for nth in range(1, told + 1)):
                yield "P3 told success, but its change is not in the history"
        if not acked:
            return
        begun = [i for i in writers if acts[i][0] not in ("idle", "none")]
        before = {i: {j for j, _ in self.seen(acts[i])} | set(self.rt(acts[i])) for i in begun}
        for _ in begun:
            for i in begun:
                before[i] |= set().union(*[before[j] for j in before[i] if j in before] or [set()])
        if not all(self.explained(key, live[3], begun, acked, before) for key in range(len(KEYS))):
            yield "P1 an acknowledged change is lost, or an older one applied over it again"
        elif self.strict and not self.serial(live[3], begun, acked, before):
            yield "P1s no one serial order of whole requests explains the keys together"

    @staticmethod
    def seen(a):
        return a[6] if a[0] == "run" else a[1]

    @staticmethod
    def rt(a):
        return a[7] if a[0] == "run" else a[2]

    def change(self, i):
        return {k: v for c in self.specs[i][1:] for k, v in c.items()}

    def explained(self, key, content, begun, acked, before):
        name = KEYS[key]
        on = [i for i in begun if name in self.change(i)]
        must = [i for i in on if i in acked]
        if content[key] == self.start[key] and not must:
            return True
        return any(
            self.change(w)[name] == content[key] and not any(w in before[m] for m in must if m != w)
            for w in on
        )

    def serial(self, content, begun, acked, before):
        rest = [i for i in begun if i not in acked]
        for mask in range(1 << len(rest)):
            chosen = acked + [r for b, r in enumerate(rest) if mask >> b & 1]
            for order in permutations(chosen):
                if any(
                    order.index(p) > order.index(i) for i in order for p in before[i] if p in order
                ):
                    continue
                now = list(self.start)
                for i in order:
                    for key, value in self.change(i).items():
                        now[KEYS.index(key)] = value
                if tuple(now) == content:
                    return True
        return False

    @staticmethod
    def text(content):
        return " ".join(
            f"{k}={'-' if v is None else v}" for k, v in zip(KEYS, content, strict=False)
        )

    @staticmethod
    def text_change(change):
        return ", ".join(f"deletes {k}" if v is None else f"{k}:={v}" for k, v in change.items())


class Create:
    """A create (`attribute_not_exists`) of unknown fate, then the session is used and ended."""

    def __init__(self, policy, faults):
        self.policy, self.F = (
            policy,
            faults,
        )  # "same": sent again under the same key | "new": under a new key

    def initial(self):
        return ((None, None, None), (), self.F, ("send", 0), "idle", ())

    def steps(self, s):
        recs, net, F, (pc, key), out, told = s
        for i, k in enumerate(net):
            now = (*recs[:k], recs[k] or "live", *recs[k + 1 :])
            yield (
                f"the delayed create of K{k} arrives",
                (now, net[:i] + net[i + 1 :], F, (pc, key), out, told),
            )
        if pc == "send":
            there = (*recs[:key], "live", *recs[key + 1 :])
            if recs[key] is None:
                yield (
                    f"creates K{key}: acknowledged; browser gets K{key}",
                    (there, net, F, ("done", key), out, (*told, key)),
                )
                if F:
                    yield (
                        f"creates K{key}: applied, answer LOST",
                        (there, net, F - 1, ("read", key), out, told),
                    )
                    yield (
                        f"creates K{key}: DELAYED",
                        (recs, (*net, key), F - 1, ("read", key), out, told),
                    )
            else:
                yield (
                    f"creates K{key}: exists, own salt; browser gets K{key}",
                    (recs, net, F, ("done", key), out, (*told, key)),
                )
        elif pc == "read":
            if recs[key]:
                yield (
                    f"reads K{key}: own salt; browser gets K{key}",
                    (recs, net, F, ("done", key), out, (*told, key)),
                )
            else:
                nxt = key if self.policy == "same" else min(key + 1, 2)
                if self.policy == "same" or key < 2:
                    yield (
                        f"reads K{key}: nothing; sends it again under K{nxt}",
                        (recs, net, F, ("send", nxt), out, told),
                    )
        elif out == "idle":
            gone = (*recs[:key], None, *recs[key + 1 :])
            yield (
                f"the person signs out: K{key} deleted, acknowledged",
                (gone, net, F, (pc, key), "out", told),
            )

    def faults_in(self, s):
        recs, _net, _F, (_pc, _key), out, told = s
        if out == "out" and any(recs[k] for k in told):
            yield "P2 revived after an acknowledged delete"


TODAY = Rule(
    "today: SDK re-sends, own salt only in the record",
    unknown="resend",
    own="record",
    base_seen=False,
    unchanged="same",
)
DRAFT_LAST = Rule(
    "draft, read narrowly: salt fresh a try, only the last try's is looked for",
    own="last",
    base_seen=False,
)
DRAFT = Rule("draft: every try's salt is looked for", own="all", base_seen=False)
FIXED = Rule(
    "corrected: every try's salt, and the expected salt must still be seen",
    own="all",
    base_seen=True,
)
PER_SAVE = Rule("corrected, one salt a save", own="all", base_seen=True, salt="save")
SAME = Rule(
    "corrected, the same bytes again while unchanged", own="all", base_seen=True, unchanged="same"
)
GIVEUP = Rule("corrected, 503 while unchanged", own="all", base_seen=True, unchanged="giveup")

REQUEST = Rule("one salt for all saves of a request", own="all", base_seen=True, salt="request")
LINEAGE = Rule(
    "ancestors taken from the first load, not from the record merged over",
    own="all",
    lineage="first",
)

W = lambda **c: ("W", c)  # noqa: E731
D, C = ("D",), ("C",)
BOTH = ("W", {"x": 1}, {"y": 1})  # one request that saves twice

# What is wrong today, in the draft, and in near misses: name, requests, rule, options.
WRONG = [
    ("A1 today", [W(x=1), W(x=2)], TODAY, {"faults": 1}),
    ("A2 draft narrowly", [W(x=1), W(x=2)], DRAFT_LAST, {"faults": 2}),
    (
        "A3 ancestors outrun (1 kept, 2 later saves: stands for 8 and 9)",
        [W(x=1), W(x=2), W(y=3)],
        DRAFT,
        {"faults": 1, "ancestors": 1},
    ),
    (
        "A4 the other writer is an older release, without ancestors",
        [W(x=1), W(x=2)],
        DRAFT,
        {"faults": 1, "ancestors": 0},
    ),
    (
        "A5 whole requests in one serial order",
        [W(x=1, y=1), W(x=DEL, y=2)],
        FIXED,
        {"faults": 0, "strict": True},
    ),
    ("A6 one salt a request", [BOTH, W(x=2)], REQUEST, {"faults": 1}),
    ("A7 wrong lineage", [W(x=1), W(x=2), W(y=3)], LINEAGE, {"faults": 2, "tries": 4}),
]
# The corrected rule, exhaustively. P2b belongs to protocol B and is gone on from here.
RIGHT = [
    ("A10 x:=1 | x:=2 | logout | cycle", [W(x=1), W(x=2), D, C], FIXED, {"faults": 3}),
    ("A11 x:=1 | delete x | logout | cycle", [W(x=1), W(x=DEL), D, C], FIXED, {"faults": 3}),
    (
        "A12 x:=1,y:=1 | delete x,y:=2 | logout | cycle",
        [W(x=1, y=1), W(x=DEL, y=2), D, C],
        FIXED,
        {"faults": 3},
    ),
    (
        "A13 x:=1 | x:=2 | delete x | logout | cycle",
        [W(x=1), W(x=2), W(x=DEL), D, C],
        FIXED,
        {"faults": 2},
    ),
    (
        "A14 x:=1 | x:=2 | x:=3,y:=3, four tries",
        [W(x=1), W(x=2), W(x=3, y=3)],
        FIXED,
        {"faults": 3, "tries": 4},
    ),
    (
        "A15 the same, ancestors outrun (1 kept)",
        [W(x=1), W(x=2), W(x=3, y=3)],
        FIXED,
        {"faults": 3, "tries": 4, "ancestors": 1},
    ),
    (
        "A16 the same, no ancestors at all (older release)",
        [W(x=1), W(x=2), W(x=3, y=3)],
        FIXED,
        {"faults": 3, "tries": 4, "ancestors": 0},
    ),
    (
        "A17 two saves of one request | x:=2 | delete y | logout",
        [BOTH, W(x=2), W(y=DEL), D],
        FIXED,
        {"faults": 2},
    ),
    ("A18 the same | cycle", [BOTH, W(x=2), C], FIXED, {"faults": 3}),
    (
        "A19 x:=1 | x:=2 | delete x | logout",
        [W(x=1), W(x=2), W(x=DEL), D],
        PER_SAVE,
        {"faults": 3},
    ),
    ("A20 x:=1 | x:=2 | delete x | logout", [W(x=1), W(x=2), W(x=DEL), D], SAME, {"faults": 3}),
    ("A21 x:=1 | x:=2 | delete x | logout", [W(x=1), W(x=2), W(x=DEL), D], GIVEUP, {"faults": 3}),
    (
        "A24 an engine without ALL_OLD: x:=1 | x:=2 | delete x | logout",
        [W(x=1), W(x=2), W(x=DEL), D],
        FIXED,
        {"faults": 2, "all_old": False},
    ),
    (
        "A22 x added by one, deleted by another",
        [W(x=1), W(x=DEL), W(x=3), C],
        FIXED,
        {"faults": 2, "start": (DEL, 0)},
    ),
]


def main(*only):
    for name, specs, rule, options in WRONG + RIGHT:
        if not only or name.split()[0] in only:
            r = explore(
                f"{name} | {rule.name} | faults {options['faults']}",
                Model(specs, rule, **options),
                tolerate=("P2b",),
            )
            r.traces.pop(
                "P2b acknowledged logout, yet the session lives on under the new key", None
            )
            show(r)
    for name, policy in (("A8", "same"), ("A23", "new")):
        if not only or name in only:
            show(
                explore(
                    f"{name} create of unknown fate, then sign-out | sent again under the {policy} key | faults 2",
                    Create(policy, 2),
                )
            )


if __name__ == "__main__":
    main(*sys.argv[1:])

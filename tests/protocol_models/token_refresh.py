"""Protocol C: rotation of refresh tokens, redemption of codes, reuse detection, the end of a grant.

Items: ("live", stamp, previous) | ("spent", stamp, answer, sealed at, landed at, previous) |
("tomb", stamp, spent at, landed at). `landed at` is a ghost: when the spending was really applied.
K, the grant's session, is a revision or None. Time is counted in graces: now - at <= 1 is within the
grace. Requests (slots) belong to: H an honest client (tries again within the grace, may give a request
up at any moment, which then goes on or still is on its way), H2 a second process of it that holds the
same token, T a thief with an old token, L somebody who has seen the code but has no verifier, V somebody
who has both and comes more than a grace after the code was spent, E an end of the grant. Where R1 is bound
to no key and what a proof gets is (DPoP), H has a key, K is a thief who has H's first bound token and no key,
B one who has R1 and a key of its own, and refreshes again, and T has R1 and no key. Writes and reads
fail as in save.py. A crash is a slot that takes no further step. Where a scene starts with a code, a grace
is the code's own, of ten seconds.
"""

import sys
from dataclasses import dataclass, replace

from tests.protocol_models.explore import explore, show

G = 1  # the grace


@dataclass(frozen=True)
class Rule:
    name: str
    age: str = "read"  # the age of a spent token is taken when it is "read" (draft) | at the request's "arrival"
    seen_live: bool = (
        False  # a request that itself saw the token live never takes what it finds later for reuse
    )
    tomb_age: bool = (
        False  # a tombstone says when its token was spent; within the grace it ends nothing
    )
    code_tomb: bool = (
        True  # a code is tombstoned like a refresh token (draft): its challenge is gone
    )
    code_again: str = "end"  # a code again, right verifier, within its grace: "end" (draft) | "same" answer | "deny"
    code_late: str = (
        "end"  # the same after the grace: "end" | "deny" (nobody notices a stolen code)
    )
    verifier_first: bool = (
        True  # the verifier is compared before anything is judged by the state of the code
    )
    bound: str = ""  # tokens that need a key: "all" of a client with one | "later" ones, which DPoP has bound
    bound_tomb: bool = False  # one of them becomes a tombstone, and is not deleted in place of that
    bind_hides: bool = False  # a spent token is judged by the key of its answer, not by its own
    end_sure: bool = (
        False  # invalid_grant for reuse is said only once K is known to be gone, else 503
    )


class Model:
    def __init__(
        self, slots, rule, *, faults, ticks=0, start="refresh", max_delay=None, late_ok=True
    ):
        self.slots, self.R, self.F, self.T, self.max_delay = slots, rule, faults, ticks, max_delay
        self.start, self.late_ok = start, late_ok

    # state: (now, K, items, net, F, slots, clients, ghosts)
    # client: (token, first sent, awaited slot, status)
    def initial(self):
        items = (
            {"R1": ("live", "r1", "C"), "C": ("spent", "c1", None, 0, 0, None)}
            if self.start == "refresh"
            else {"C": ("live", "c0", None)}
        )
        if self.start == "old":  # R1 was spent at 0, R2 is live; the thief has R1
            items = {"R1": ("spent", "r1", "R2", 0, 0, "C"), "R2": ("live", "r2", "R1")}
        tok = {"refresh": "R1", "code": "C", "old": "R2"}[self.start]
        names = sorted({c for c in self.slots if c in ("H", "H2")})
        clients = tuple((c, (tok, None, None, "new")) for c in names)
        return (
            0,
            1,
            tuple(sorted(items.items())),
            (),
            self.F,
            tuple(("idle",) for _ in self.slots),
            clients,
            (),
        )

    @staticmethod
    def get(items, name):
        return next((v for k, v in items if k == name), None)

    @staticmethod
    def put(items, **new):
        d = dict(items)
        d.update(new)
        return tuple(sorted(d.items()))

    # ---- writes on (K, items)
    def holds(self, K, items, op):
        if op[0] == "save":
            return K is not None and op[1] == K
        if op[0] == "end":
            return K is not None
        item = self.get(items, op[1])
        return item is not None and item[1] == op[2]

    def apply(self, now, K, items, op):
        if op[0] == "save":
            return K + 1, items
        if op[0] == "end":
            return None, items
        _, tok, _, new, at, _ = op
        old = self.get(items, tok)
        prev = old[2] if old[0] == "live" else None
        change = {tok: ("spent", f"s{new}", new, at, now, prev), new: ("live", f"l{new}", tok)}
        if prev not in (None, "C") and self.needs_key(prev) and not self.R.bound_tomb:
            items = tuple(each for each in items if each[0] != prev)
        elif prev and self.get(items, prev) and (self.R.code_tomb or prev != "C"):
            was = self.get(items, prev)
            change[prev] = (
                "tomb",
                f"t{new}",
                was[3] if was[0] == "spent" else was[2],
                was[4] if was[0] == "spent" else was[3],
            )
        return K, self.put(items, **change | self.minted(now, old, op))

    def needs_key(self, tok):
        return self.R.bound == "all" or (self.R.bound == "later" and tok not in ("C", "R1"))

    def key_of(self, tok):
        """Return whose key a token is bound to; "" for none."""
        if self.R.bound != "later" or not self.needs_key(tok):
            return ""
        return "B" if self.slots[int(tok[1:]) - 2] == "B" else "H"

    def minted(self, now, old, op):
        """Return what a transaction puts besides: `access_tokens` has it."""
        return {}

    def send(self, now, K, items, net, F, op):
        if self.holds(K, items, op):
            K2, items2 = self.apply(now, K, items, op)
            yield "acknowledged", K2, items2, net, F, "ok"
            if F:
                yield "applied, answer LOST", K2, items2, net, F - 1, "unknown"
                yield "NOT applied, error", K, items, net, F - 1, "unknown"
                yield (
                    "DELAYED in the network, error",
                    K,
                    items,
                    tuple(sorted((*net, (op, now)), key=repr)),
                    F - 1,
                    "unknown",
                )
        elif op[0] == "end":
            yield "acknowledged (nothing there)", K, items, net, F, "ok"
        else:
            yield "condition failed", K, items, net, F, "cond"
            if F:
                yield "condition failed, answer LOST", K, items, net, F - 1, "unknown"

    # ---- steps
    def steps(self, s):
        now, K, items, net, F, slots, clients, ghosts = s
        if now < self.T:
            net2 = tuple(
                n for n in net if self.max_delay is None or now + 1 - n[1] <= self.max_delay
            )
            yield self.done(
                "a grace's time passes", now + 1, K, items, net2, F, slots, clients, ghosts
            )
        for i, (op, _) in enumerate(net):
            K2, items2 = self.apply(now, K, items, op)
            yield self.done(
                f"the delayed {self.what(op)} arrives and is applied",
                now,
                K2,
                items2,
                net[:i] + net[i + 1 :],
                F,
                slots,
                clients,
                ghosts,
            )
        for i, who in enumerate(self.slots):
            a = slots[i]
            me = f"{who}{i + 1}"
            if a[0] == "idle":
                for label, b, c2 in self.begin(i, who, now, items, slots, clients):
                    yield self.done(
                        f"{me}: {label}",
                        now,
                        K,
                        items,
                        net,
                        F,
                        (*slots[:i], b, *slots[i + 1 :]),
                        c2,
                        ghosts,
                    )
            elif a[0] == "run":
                for label, K2, items2, net2, F2, b, g in self.act(i, who, a, now, K, items, net, F):
                    if b[:2] == ("done", "ok") and a[2] == "C":
                        g = (*g, f"code answered to {me}")
                    ghosts2 = tuple(sorted({*ghosts, *g}))
                    yield self.done(
                        f"{me}: {label}",
                        now,
                        K2,
                        items2,
                        net2,
                        F2,
                        (*slots[:i], b, *slots[i + 1 :]),
                        clients,
                        ghosts2,
                    )
            elif a[0] == "done" and who in ("H", "H2"):
                # The answer reaches the client, if it still waits for it.
                tok, first, awaited, status = self.get(clients, who)
                c = (tok, first, awaited, status)
                if awaited == i:
                    c = {
                        "ok": (a[2], None, None, "ok"),
                        "invalid": (tok, first, None, "out"),
                        "503": (tok, first, None, "503"),
                    }[a[1]]
                    told = f"answer {a[1]}{' ' + a[2] if a[2] else ''} reaches the client"
                else:
                    told = "answer comes when nobody waits any more"
                yield self.done(
                    f"{me}: {told}",
                    now,
                    K,
                    items,
                    net,
                    F,
                    (*slots[:i], ("over",), *slots[i + 1 :]),
                    self.put(clients, **{who: c}),
                    ghosts,
                )

    def done(self, label, now, K, items, net, F, slots, clients, ghosts):
        net = tuple(n for n in net if self.holds(K, items, n[0]))
        return label, (now, K, items, net, F, slots, clients, ghosts)

    @staticmethod
    def what(op):
        return {"save": "save of K", "end": "delete of K"}.get(
            op[0]
        ) or f"transaction {op[1]}->{op[3]}"

    def begin(self, i, who, now, items, slots, clients):
        if any(slots[j][0] == "idle" and self.slots[j] == who for j in range(i)):
            return  # slots of one client in their order
        if who in ("H", "H2"):
            tok, first, awaited, status = self.get(clients, who)
            if status == "out" or (first is not None and now - first > G):
                return  # it would come after the grace: scene "asleep" below does that
            c = (tok, now if first is None else first, i, status)
            giving_up = " (gives the earlier one up)" if awaited is not None else ""
            yield (
                f"sends {tok}{giving_up}",
                ("run", "sent", tok, None, None, None, None, c[1]),
                self.put(clients, **{who: c}),
            )
        elif (
            who == "Z"
        ):  # an honest client that slept: its answer was lost, it tries again after the grace
            item = self.get(items, "R1")
            if item and item[0] != "live" and now - item[4 if item[0] == "spent" else 3] > G:
                yield (
                    "sends R1, more than a grace after it was spent",
                    ("run", "sent", "R1", None, None, None, None, None),
                    clients,
                )
        elif who == "V":
            item = self.get(items, "C")
            if item[0] != "live" and now - item[4 if item[0] == "spent" else 3] > G:
                yield (
                    "sends the code and its verifier, more than a grace after it was spent",
                    ("run", "sent", "C", None, None, None, None, None),
                    clients,
                )
        elif who == "T":
            item = self.get(items, "R1")
            if item and item[0] != "live" and now - item[4 if item[0] == "spent" else 3] > G:
                yield (
                    "sends the stolen R1, more than a grace after it was spent",
                    ("run", "sent", "R1", None, None, None, None, None),
                    clients,
                )
        elif who == "B":
            own = (k for k, v in items if v[0] == "live" and self.key_of(k) == "B")
            tok = next(own, "R1")
            yield (
                f"sends {tok} with a key of its own",
                ("run", "sent", tok, None, None, None, None, None),
                clients,
            )
        elif who == "K":
            if self.get(items, "R2"):
                yield (
                    "sends the stolen R2 without its key",
                    ("run", "sent", "R2", None, None, None, None, None),
                    clients,
                )
        elif who == "L":
            yield (
                "sends the code without its verifier",
                ("run", "sent", "C", None, None, None, None, None),
                clients,
            )
        elif who == "E":
            yield "ends the grant", ("run", "end", None, now, None, None, None, None), clients

    def act(self, i, who, a, now, K, items, net, F):
        """Yield (label, K, items, net, F, slot, ghosts)."""
        R = self.R
        _, pc, tok, arrived, stamp, krev, after, first = a
        same = (K, items, net)

        def to(pc, stamp=stamp, krev=krev, after=after, arrived=arrived):
            return ("run", pc, tok, arrived, stamp, krev, after, first)

        def fin(result, token=""):
            return ("done", result, token)

        if pc == "sent":
            yield "arrives", *same, F, to("rd", arrived=now), ()
        elif pc in {"rd", "rr"}:
            if F:
                yield f"reads {tok}: no answer; told 503", *same, F - 1, fin("503"), ()
            yield self.judge(i, who, a, now, K, items, net, F)
        elif pc == "rdK":
            if F:
                yield "reads K: no answer; told 503", *same, F - 1, fin("503"), ()
            if K is None:
                yield "reads K: ended; told invalid_grant", *same, F, fin("invalid"), ()
            elif after:
                yield f"reads K: there; told {after}, as before", *same, F, fin("ok", after), ()
            else:
                yield "reads K: there", *same, F, to("save", krev=K), ()
        elif pc == "save":
            for label, K2, items2, net2, F2, reply in self.send(
                now, K, items, net, F, ("save", krev)
            ):
                if reply == "ok":
                    b = to("tx")
                elif reply == "cond":
                    b = to("rdK")
                else:
                    b = fin("503")  # K's own save: protocol A; a 503 is always right here
                yield f"saves K: {label}", K2, items2, net2, F2, b, ()
        elif pc == "tx":
            new = f"R{i + 2}" if self.start != "old" else f"R{i + 3}"
            for label, K2, items2, net2, F2, reply in self.send(
                now, K, items, net, F, ("tx", tok, stamp, new, now, i)
            ):
                b = (
                    fin("ok", new)
                    if reply == "ok"
                    else to("rr", after=new if reply == "unknown" else "")
                )
                yield f"spends {tok} for {new}: {label}", K2, items2, net2, F2, b, ()
        elif pc == "end":
            for label, K2, items2, net2, F2, reply in self.send(now, K, items, net, F, ("end",)):
                b = (
                    fin("invalid")
                    if reply == "ok" or not (R.end_sure or who == "E")
                    else to("endrd")
                )
                yield (
                    f"deletes K: {label}{'; told invalid_grant' if b[0] == 'done' and who != 'E' else ''}",
                    K2,
                    items2,
                    net2,
                    F2,
                    b,
                    (),
                )
        elif pc == "endrd":
            if F:
                yield "reads K: no answer; told 503", *same, F - 1, fin("503"), ()
            if K is None:
                yield "reads K: gone", *same, F, fin("invalid"), ()
            else:
                yield "reads K: there; deletes it again", *same, F, to("end"), ()

    def judge(self, i, who, a, now, K, items, net, F):
        """What the item of the presented token says; pc `rr` is the second look, after the own transaction."""
        R = self.R
        _, pc, tok, arrived, stamp, krev, _after, first = a
        item = self.get(items, tok)
        same = (K, items, net, F)
        second = pc == "rr"
        code = tok == "C"

        def fin(result, token=""):
            return ("done", result, token)

        def to(pc, stamp=stamp, after=""):
            return ("run", pc, tok, arrived, stamp, krev, after, first)

        def ends(why):
            sealed = item[3] if item[0] == "spent" else item[2]
            ghosts = ()
            if who in ("H", "H2"):
                if "B" in self.slots:
                    ghosts = ()  # two have R1: the grant ends
                elif code:
                    late = arrived - sealed > G
                    ghosts = (
                        ()
                        if late and self.late_ok
                        else ("C2c an honest client's second try of a code ended its grant",)
                    )
                elif (
                    who == "H"
                    and arrived - first <= G
                    and ("H2" not in self.slots or arrived - sealed <= G)
                ):
                    ghosts = ("C2 an honest client's request within the grace ended its grant",)
                elif who == "H2" and arrived - sealed <= G:
                    ghosts = (
                        "C2 the second process of an honest client ended the grant within the grace",
                    )
                else:
                    ghosts = (
                        ()
                        if self.late_ok
                        else ("C2z a try that arrived after the grace ended the grant",)
                    )
            elif who == "Z":
                ghosts = ("C2z an honest client that tried again after the grace lost its grant",)
            elif who == "K":
                ghosts = ("C10 a thief without the key ended the grant",)
            elif who == "L":
                ghosts = ("C6 somebody with the code but no verifier ended the grant",)
            return f"reads {tok}: {why}: reuse", *same, to("end"), ghosts

        mine = f"R{i + 2}" if self.start != "old" else f"R{i + 3}"
        if item is None and second and self.get(items, mine):
            return f"reads {tok}: deleted; told {mine}", *same, fin("ok", mine), ()
        if item is None:
            return f"reads {tok}: nothing; told invalid_grant", *same, fin("invalid"), ()
        has = {"H": "H", "H2": "H", "B": "B"}.get(who, "")
        if item[0] != "tomb" and self.key_of(tok) not in ("", has):
            return f"reads {tok}: bound to another key", *same, fin("invalid"), ()
        if item[0] == "live":
            if who == "L":
                return "wrong verifier; told invalid_grant", *same, fin("invalid"), ()
            if second:
                return f"reads {tok}: unchanged; told 503", *same, fin("503"), ()
            return f"reads {tok}: live", *same, to("rdK", stamp=item[1]), ()
        if item[0] == "spent":
            if second and item[2] == mine:
                return f"reads {tok}: own stamp; told {mine}", *same, fin("ok", mine), ()
            if who == "L" and R.verifier_first:
                return "wrong verifier; told invalid_grant", *same, fin("invalid"), ()
            if code:
                within = (arrived if R.age == "arrival" else now) - item[3] <= G
                if R.code_again == "same" and within:
                    return "reads C: spent, within the grace", *same, to("rdK", after=item[2]), ()
                if (R.code_again == "deny" and within) or (R.code_late == "deny" and not within):
                    return (
                        "reads C: spent; told invalid_grant, ends nothing",
                        *same,
                        fin("invalid"),
                        (),
                    )
                if R.seen_live and second:
                    return "reads C: spent by another; told 503", *same, fin("503"), ()
                return ends("a code again, right verifier")
            age = (arrived if R.age == "arrival" else now) - item[3]
            if (age <= G or R.bind_hides) and self.key_of(item[2]) not in ("", has):
                hidden = ("C11 a thief hid by binding the grant",) if age > G else ()
                return f"reads {tok}: spent with another key", *same, fin("invalid"), hidden
            if age <= G or (R.seen_live and second):
                return f"reads {tok}: spent, within the grace", *same, to("rdK", after=item[2]), ()
            return ends("spent more than a grace ago")
        # a tombstone
        if code and who == "L" and not R.code_tomb:
            return "told invalid_grant", *same, fin("invalid"), ()
        if R.seen_live and second:
            return (
                f"reads {tok}: a tombstone, after it was seen live; told 503",
                *same,
                fin("503"),
                (),
            )
        if R.tomb_age and (arrived if R.age == "arrival" else now) - item[2] <= G:
            return (
                f"reads {tok}: a tombstone within the grace; told invalid_grant, ends nothing",
                *same,
                fin("invalid"),
                (),
            )
        return ends("a tombstone")

    # ---- properties
    def faults_in(self, s):
        _now, K, items, net, _F, slots, clients, ghosts = s
        yield from (g for g in ghosts if g.startswith("C"))
        if sum(v[0] == "live" for k, v in items if k != "C") > 1:
            yield "C1 two live refresh tokens"
        for who, a in zip(self.slots, slots, strict=False):
            if who == "E" and a[:2] == ("done", "invalid") and K is not None:
                yield "C3 the grant lives after an acknowledged end"
            if who == "K" and a[:2] == ("done", "ok"):
                yield "C10 a thief without the key got a pair"
            if who in ("T", "V") and a[0] == "done":
                if a[1] == "ok":
                    yield "C4 a thief got a pair for an old token after the grace"
                if a[1] == "invalid" and K is not None:
                    yield "C4 reuse was answered, but the grant lives"
            if who == "L" and a[:2] == ("done", "ok"):
                yield "C6 somebody with the code but no verifier got a pair"
            if a[:2] == ("done", "ok") and self.get(items, a[2]) is None:
                yield "C5 told a token that does not exist"
        if len([g for g in ghosts if g.startswith("code answered")]) > 1:
            yield "C9 a code was answered with tokens twice (RFC 6749 4.1.2: it MUST be denied)"
        ended = any(
            who in ("B", "E", "T", "V", "X", "Z", "H2") and a[0] != "idle"
            for who, a in zip(self.slots, slots, strict=False)
        )
        for who, (tok, _first, _awaited, status) in clients:
            # Whoever sends a code again has the first answer, or asks the person anew.
            told = status == "out" and who == "H" and tok != "C" and "B" not in self.slots
            if told and K is not None:
                yield "C2b an honest client is told invalid_grant while the grant lives"
        if not ended and K is not None and not net and all(a[0] in ("idle", "over") for a in slots):
            for who, (tok, _first, _awaited, status) in clients:
                item = self.get(items, tok)
                if status == "ok" and item[0] != "live":
                    yield "C5b an honest client at rest holds no live token"


DRAFT = Rule("draft")
F1 = replace(DRAFT, name="F1: age at the request's arrival", age="arrival")
F2 = replace(F1, name="F2: F1 + tombstones know when their token was spent", tomb_age=True)
F3 = replace(F2, name="F3: F2 + codes are not tombstoned", code_tomb=False)
F4 = replace(F3, name="F4: F3 + reuse is answered once K is known to be gone", end_sure=True)
FULL = replace(F4, name="FULL: F4 + a code sent twice ends nothing", code_again="deny")
BOUND = replace(FULL, name="FULL, of a client with a key", bound="all")
DPOP = replace(FULL, name="FULL, bound to a key since a refresh", bound="later")
SAME = replace(F4, name="F4, a code again gives the same answer", code_again="same")

CONFIGS = [
    # The draft's violations, and near misses
    ("C1", "H H", DRAFT, {"faults": 0, "ticks": 2}),
    ("C2", "H H H", F1, {"faults": 0, "ticks": 1}),
    ("C3", "H H H2", F1, {"faults": 0}),
    ("C4", "H L", F2, {"faults": 0, "ticks": 2}),
    ("C5", "T", F3, {"faults": 1, "ticks": 2, "start": "old"}),
    ("C6", "H H", F4, {"faults": 0, "start": "code"}),
    ("C9", "H H", SAME, {"faults": 0, "start": "code"}),
    # What stays so, by choice: to be said
    ("C7", "H Z", FULL, {"faults": 0, "ticks": 2}),
    ("C8", "H H H", FULL, {"faults": 2, "ticks": 2, "late_ok": False}),
    # The corrected rule, exhaustively
    ("C10", "H H H", FULL, {"faults": 2, "ticks": 2}),
    ("C11", "H H H E", FULL, {"faults": 1, "ticks": 1}),
    ("C12", "H H E", FULL, {"faults": 3, "ticks": 2}),
    ("C13", "H H T", FULL, {"faults": 2, "ticks": 3}),
    ("C14", "H H H2", FULL, {"faults": 1, "ticks": 2}),
    ("C15", "T H E", FULL, {"faults": 2, "ticks": 3, "start": "old"}),
    ("C16", "H H L", FULL, {"faults": 2, "ticks": 2, "start": "code"}),
    ("C17", "H H H L", FULL, {"faults": 1, "ticks": 0, "start": "code"}),
    ("C18", "H E L", FULL, {"faults": 2, "ticks": 1, "start": "code"}),
    ("C19", "H H H H", FULL, {"faults": 1}),
    ("C20", "H H V", FULL, {"faults": 2, "ticks": 3, "start": "code"}),
    ("C21", "H H2 V L", FULL, {"faults": 1, "ticks": 2, "start": "code"}),
    # The same of a client with a key; a thief is rejected before
    ("C22", "H H H", BOUND, {"faults": 2, "ticks": 2}),
    ("C23", "H H H2", BOUND, {"faults": 1, "ticks": 2}),
    ("C24", "H H E", BOUND, {"faults": 2, "ticks": 2}),
    # The same of a client that binds its grant at a refresh, and of thieves
    ("C25", "H H H", DPOP, {"faults": 1, "ticks": 2}),
    ("C26", "H H H2", DPOP, {"faults": 0, "ticks": 2}),
    ("C27", "H H T", DPOP, {"faults": 1, "ticks": 3}),
    ("C28", "H H H K", DPOP, {"faults": 0, "ticks": 2}),
    ("C29", "B B H", DPOP, {"faults": 1, "ticks": 2}),
]


def main(*only):
    for name, slots, rule, options in CONFIGS:
        if not only or name in only:
            more = ", ".join(k if v is True else f"{k}={v}" for k, v in options.items())
            show(
                explore(
                    f"{name} {slots} | {rule.name} | {more}",
                    Model(tuple(slots.split()), rule, **options),
                )
            )


# Every part of FULL taken away alone, or another in its place.
REFRESHES = [
    ("H H H", {"faults": 1, "ticks": 2}),
    ("H H H2", {"faults": 1, "ticks": 2}),
    ("H L", {"faults": 1, "ticks": 2}),
    ("H H T", {"faults": 1, "ticks": 3}),
    ("T H E", {"faults": 1, "ticks": 2, "start": "old"}),
]
CODES = [
    ("H H L", {"faults": 1, "ticks": 2, "start": "code"}),
    ("H H V", {"faults": 1, "ticks": 2, "start": "code"}),
]
BINDING = [
    ("H H H K", {"faults": 0, "ticks": 2}),
    ("B B H", {"faults": 0, "ticks": 2}),
]
PARTS = [
    ("age", "read", REFRESHES),
    ("age", "read", CODES),
    ("tomb_age", False, REFRESHES),
    ("code_tomb", True, REFRESHES),
    ("end_sure", False, REFRESHES),
    ("code_again", "end", CODES),
    ("code_again", "same", CODES),
    ("code_late", "deny", CODES),
    ("verifier_first", False, CODES),
    ("bound_tomb", True, BINDING),
    ("bind_hides", True, BINDING),
]


def without():
    for part, value, scenes in PARTS:
        found, states = set(), 0
        for slots, options in scenes:
            rule = replace(DPOP if scenes is BINDING else FULL, **{part: value})
            r = explore(part, Model(tuple(slots.split()), rule, **options))
            states += r.states
            found |= set(r.traces)
        print(
            f"[C60 FULL with {part} {value!r}] {states:,} states: "
            + ("; ".join(sorted(found)) or "no violation: not needed"),
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
    if not sys.argv[1:] or sys.argv[1] == "C60":
        without()

"""A small explicit-state model checker: breadth first, so the first trace of a fault is a shortest one.

A model gives  initial() -> state,  steps(state) -> iterable of (label, state),
faults_in(state) -> iterable of names of violated properties.  States are nested tuples
(hashable, compared by value). Exploration is exhaustive unless `limit` is hit, which is said.
"""

import sys
import time
from array import array


class Result:
    def __init__(self, name):
        self.name, self.states, self.edges, self.seconds = name, 0, 0, 0.0
        self.complete, self.traces, self.counts, self.depth = True, {}, {}, 0


def explore(name, model, *, limit=12_000_000, stop_after=None, tolerate=()):
    """Visit every reachable state.

    A state that violates a property is counted and not gone on from, unless all that it violates is
    in `tolerate` (names, or how they begin).
    """
    t0 = time.time()
    r = Result(name)
    first = model.initial()
    index = {first: 0}
    states, parent, labels, names = [first], array("q", [-1]), array("q", [-1]), {}
    depth = array("l", [0])
    rev = []
    at = 0
    while at < len(states):
        s = states[at]
        states[at] = None if at else s  # the dict keeps it; traces are rebuilt by replaying
        bad = list(model.faults_in(s))
        for b in bad:
            r.counts[b] = r.counts.get(b, 0) + 1
            if b not in r.traces:
                r.traces[b] = at
        r.depth = max(r.depth, depth[at])
        if all(any(b.startswith(t) for t in tolerate) for b in bad):
            for label, t in model.steps(s):
                r.edges += 1
                if t in index:
                    continue
                index[t] = len(states)
                states.append(t)
                parent.append(at)
                depth.append(depth[at] + 1)
                if label not in names:
                    names[label] = len(rev)
                    rev.append(label)
                labels.append(names[label])
        at += 1
        if len(states) > limit:
            r.complete = False
            break
        if stop_after and len(r.traces) >= stop_after:
            r.complete = False
            break
    r.states = len(index)
    r.seconds = time.time() - t0
    for b, i in list(r.traces.items()):
        path = []
        while i > 0:
            path.append(rev[labels[i]])
            i = parent[i]
        r.traces[b] = path[::-1]
    return r


def unchanged(store, net, faults):
    """Return a function that makes a step after which the store and the network are these."""

    def step(label, act, note=""):
        return label, store, net, faults, act, note

    return step


def send_applicable(store, net, faults, op, after):
    """Yield (what happened, store, net, faults, reply) of a write whose condition holds."""
    yield "acknowledged", after, net, faults, "ok"
    if faults:
        yield "applied, answer LOST", after, net, faults - 1, "unknown"
        yield "NOT applied, error", store, net, faults - 1, "unknown"
        delayed = tuple(sorted((*net, op), key=repr))
        yield "DELAYED in the network, error", store, delayed, faults - 1, "unknown"


def show(r, out=sys.stdout, traces=True):
    how = "exhausted" if r.complete else "STOPPED at the limit"
    print(
        f"[{r.name}] {r.states:,} states, {r.edges:,} steps, depth {r.depth}, {how}, {r.seconds:.1f} s: "
        + ("no violation" if not r.traces else f"{len(r.traces)} kind(s) of violation"),
        file=out,
        flush=True,
    )
    for b, path in r.traces.items():
        print(f"    VIOLATED {b}  ({r.counts[b]:,} states)", file=out)
        if traces:
            for n, label in enumerate(path, 1):
                print(f"      {n:2}. {label}", file=out)
    out.flush()

"""Assigns each patient to a part: greedily, then with exchanges that improve the result."""

import numpy as np

SWEEPS = 3  # passes in which each patient is taken out and assigned again
ROUNDS = 3  # passes of exchanges, at most
VISITS = 5_000  # patients that a pass of exchanges looks at, at most
CELLS = 4_096  # partners times classes that one of them is compared with, at most
STARTS = 16  # greedy assignments of a small set; fewer with more patients
STARTED = 1_000  # patients assigned in all starts together
OVERSIZE = 1.0  # weight of the deviation of a part's size beyond the mean patient
LACKING = 1_000.0  # cost of a class without a patient in a part: larger than all other terms
RATIO = 0.1  # weight of the label-ratio error relative to the counts; a larger weight makes sizes less exact


def assign(counts: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """The part of each patient, int [P], so that every part holds its share of every class.

    counts: [P, C + 1], the items of each patient by class; the last column counts all its items.
    shares: [S], above 0 with sum 1, the share of each part. P is at least S.

    Minimises, over the parts s, with n counts of items, N all items of a part, and f the shares, the sum of
      (n_sc - f_s n_c)^2 / (f_s n_c^2) over the classes c and the size (after Sechidis et al. 2011, who place
        items, not patients),
      RATIO |n_sc / N_s - n_c / N| over the classes, which is the error that ``split_summary`` reports,
      OVERSIZE for the images, as a share of all, by which its size is off by more than a mean patient has, and
      LACKING for each class that the part has no item of.
    Small sets are assigned several times, every other time at random before the exchanges, and the best is kept.
    The same ``seed`` gives the same parts.
    """
    counts = np.asarray(counts, np.float64)
    objective = _Objective(counts, shares)
    best, least = np.zeros(len(counts), np.int64), np.inf
    for start in range(int(np.clip(STARTED // len(counts), 1, STARTS))):
        begin = _scattered if start % 2 else _greedy
        part_of_patient = _exchange(begin(counts, shares, [seed, start]), counts, objective, [seed, start])
        cost = objective(_held(part_of_patient, counts, len(shares))).sum()
        if cost < least - 1e-12:
            best, least = part_of_patient, cost
    return best


class _Objective:
    """What ``assign`` minimises, for parts of given counts."""

    def __init__(self, counts: np.ndarray, shares: np.ndarray) -> None:
        totals, patients = counts.sum(0), len(counts)
        self.exists = totals > 0
        self.weights = np.where(self.exists, 1 / np.maximum(totals, 1) ** 2, 0.0)
        self.fair = shares[:, None] * totals
        self.ratios = totals[:-1] / totals[-1]
        self.total, self.slack = totals[-1], totals[-1] / patients
        self.shares = shares

    def __call__(self, held: np.ndarray, part: np.ndarray | int | slice = slice(None)) -> np.ndarray:
        """held: [..., C + 1], the items by class of ``part``, whose leading shape fits. Returns [...]."""
        counted = ((held - self.fair[part]) ** 2 @ self.weights) / self.shares[part]
        ratios = held[..., :-1] / np.maximum(held[..., -1:], 1)
        off = np.abs(held[..., -1] - self.fair[part, -1])
        oversize = np.maximum(off - self.slack, 0) / self.total
        lacking = ((held == 0) & self.exists).sum(-1)
        ratio_error = np.abs(ratios - self.ratios).sum(-1)
        return counted + RATIO * ratio_error + OVERSIZE * oversize + LACKING * lacking


def _held(part_of_patient: np.ndarray, counts: np.ndarray, parts: int) -> np.ndarray:
    held = np.zeros((parts, counts.shape[1]))
    np.add.at(held, part_of_patient, counts)
    return held


def _greedy(counts: np.ndarray, shares: np.ndarray, seed: list[int]) -> np.ndarray:
    """Assign patients one at a time, those with the rarest class first, each where it costs least; then all again."""
    parts, totals = len(shares), counts.sum(0)
    weights = np.where(totals > 0, 1 / np.maximum(totals, 1) ** 2, 0.0)
    excess = -shares[:, None] * totals  # items beyond the fair share, by part and class
    holders = np.zeros((parts, len(totals)), np.int64)  # patients who have the class
    unplaced = (counts > 0).sum(0)
    part_of_patient = np.full(len(counts), -1)
    for who in np.tile(_order(counts, totals, seed), 1 + SWEEPS):
        items, classes = counts[who], np.flatnonzero(counts[who])
        if (part := part_of_patient[who]) >= 0:
            excess[part] -= items
            holders[part, classes] -= 1
            unplaced[classes] += 1
        cost = (weights * items * (2 * excess + items)).sum(1) / shares
        for c in classes[unplaced[classes] <= parts]:
            # The last patients who have class c go where nobody has it, if there is such a part.
            empty = holders[:, c] == 0
            if unplaced[c] <= empty.sum() and np.isfinite(cost[empty]).any():
                cost[~empty] = np.inf
        part = part_of_patient[who] = cost.argmin()
        excess[part] += items
        holders[part, classes] += 1
        unplaced[classes] -= 1
    return part_of_patient


def _scattered(counts: np.ndarray, shares: np.ndarray, seed: list[int]) -> np.ndarray:
    """Random parts, none of them empty: another start, in case the greedy one leads to a poor local optimum."""
    parts = np.arange(len(shares))
    rest = np.random.default_rng(seed).choice(parts, len(counts) - len(parts), p=shares)
    return np.random.default_rng([*seed, 0]).permutation(np.concatenate([parts, rest]))


def _exchange(
    part_of_patient: np.ndarray, counts: np.ndarray, objective: _Objective, seed: list[int]
) -> np.ndarray:
    """Move a patient to another part, or exchange two patients, as long as that lowers the objective."""
    rng = np.random.default_rng([*seed, 1])
    parts, everybody = np.arange(len(objective.shares)), np.arange(len(counts))
    members = np.bincount(part_of_patient, minlength=len(parts))
    held = _held(part_of_patient, counts, len(parts))
    cost = objective(held)
    partners = max(1, CELLS // counts.shape[1])
    for _ in range(ROUNDS):
        improved = False
        for who in rng.permutation(len(counts))[:VISITS]:
            here, items = part_of_patient[who], counts[who]
            others = rng.integers(0, len(counts), partners) if len(counts) > partners else everybody
            others = others[part_of_patient[others] != here]
            there = part_of_patient[others]
            change = counts[others] - items
            swapped = objective(held[here] + change, here) + objective(held[there] - change, there)
            swapped -= cost[here] + cost[there]
            moved = objective(held[here] - items, here) + objective(held + items) - cost[here] - cost
            moved[here] = 0.0
            if members[here] == 1:
                moved[:] = 0.0  # a part without a patient is no part
            least = min(swapped.min(initial=0.0), moved.min())
            if least > -1e-9:
                continue
            improved = True
            if moved.min() == least:
                target, change = moved.argmin(), -items
                members[[here, target]] += [-1, 1]
            else:
                partner = swapped.argmin()
                target, change = there[partner], change[partner]
                part_of_patient[others[partner]] = here
            part_of_patient[who] = target
            held[here] += change
            held[target] -= change
            cost[[here, target]] = objective(held[[here, target]], np.array([here, target]))
        if not improved:
            break
    return part_of_patient


def _order(counts: np.ndarray, totals: np.ndarray, seed: list[int]) -> np.ndarray:
    """Patients with the rarest class first; then by size, halving; then at random.

    Sizes are compared by their power of two: an exact order would always put the same largest patients in
    the largest part, whatever the seed.
    """
    rarest = np.where(counts > 0, totals, np.inf).min(1)
    size = np.floor(np.log2(counts[:, -1]))
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    return shuffled[np.lexsort((-size[shuffled], rarest[shuffled]))]

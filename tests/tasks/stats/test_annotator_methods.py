"""Timing, regularity, cues, calibration, change points, topics, copying: hand-worked values and scipy's."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import betabinom

from tasks.annotator_findings import find
from tasks.params import load
from tasks.stats.ballots import Ballots
from tasks.stats.change_points import BLOCKS, MARGIN, PATTERNS, change_evidence
from tasks.stats.collusion import find_groups, shared_items
from tasks.stats.dawid_skene import one_coin
from tasks.stats.full_dawid_skene import two_coin
from tasks.stats.mixture import PEOPLE, TAILS, _cell, _expected, fit_mixture, skill_weights
from tasks.stats.policies import _beta_binomial_tail, leaning_p_values, policy_evidence
from tasks.stats.rater_calibration import calibration
from tasks.stats.regularity import regularity_p_values
from tasks.stats.response_model import ResponseModel
from tasks.stats.tastes import crowd_tastes, cue_signs
from tasks.stats.timing import _median_by, timing
from tasks.stats.topic_contrast import Beside, contrasts, disputed_topics, topic_evidence, turned_round
from tests.conftest import ROOT

ANNOTATORS = load(ROOT / "params.yaml").annotators


def ballots(who: np.ndarray, item: np.ndarray, choice: np.ndarray, known: np.ndarray | None = None) -> Ballots:
    order = np.lexsort((who, item))
    known = np.full(int(item.max()) + 1, -1, dtype=np.int8) if known is None else known
    who, item, choice = who[order].astype(np.int32), item[order].astype(np.int32), choice[order].astype(np.int8)
    return Ballots(who, item, choice, known, int(who.max()) + 1)


def test_beta_binomial_tails_are_scipys() -> None:
    for k, n, a, b in ((3, 40, 8.0, 5.0), (38, 40, 8.0, 5.0), (0, 7, 0.5, 2.0)):
        expected = min(betabinom.cdf(k, n, a, b), betabinom.sf(k - 1, n, a, b))
        assert _beta_binomial_tail(k, n, a, b) == pytest.approx(expected, rel=1e-9)


def test_a_cue_followed_always_stands_out_and_a_taste_does_not() -> None:
    rng = np.random.default_rng(0)
    known = np.full(400, 60)
    follows = rng.binomial(60, rng.beta(30, 25, 400))  # real people lean to the first response a little
    follows[:3] = 58
    p = leaning_p_values(follows, known)
    assert p[:3].max() < 1e-6
    assert (p[3:] < 0.01).mean() < 0.02
    assert (leaning_p_values(np.zeros(5), np.full(5, 9)) == 1).all()  # nobody ever does it: nobody stands out


def test_evidence_of_a_policy_by_hand() -> None:
    """One vote that follows: (∫_½¹ r dr + ∫_0^½ r dr) / (2 · ½) = ½; a vote without the cue is a coin's."""
    found = policy_evidence(np.array([1.0, 0.0]), np.array([1.0, 0.0]), np.array([1.0, 1.0]), 0.5)
    assert np.exp(found) == pytest.approx([0.5, 0.5])


def stretches(pattern: str) -> list[tuple[int, int]]:
    """(begin, end) in blocks of all that a pattern may have."""
    inner = range(MARGIN, BLOCKS - MARGIN + 1)
    if pattern == "changed":
        return [(begin, BLOCKS) for begin in inner]
    if pattern == "began":
        return [(0, end) for end in inner]
    return [(begin, end) for begin in inner[::3] for end in inner[::3] if begin < end]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_change_point_evidence_is_the_sum_over_all_stretches(pattern: str) -> None:
    """With as many votes as blocks, the sum can be written out."""
    rng = np.random.default_rng(1)
    cast = rng.uniform(0.3, 0.95, (BLOCKS, 2))
    weights = np.array([0.4, 0.6])
    found = change_evidence(np.zeros(BLOCKS, dtype=np.int32), 1, np.arange(BLOCKS), cast, weights)
    terms = []
    for begin, end in stretches(pattern):
        for skill, weight in zip(cast.T, weights, strict=True):
            reads = np.log(skill[:begin]).sum() + np.log(skill[end:]).sum()
            for unread in (np.full(end - begin, np.log(0.5)), np.log1p(-skill[begin:end])):
                terms.append(reads + unread.sum() + np.log(weight / 2))
    evidence = found.evidence[0, PATTERNS.index(pattern)]
    assert evidence == pytest.approx(logsumexp(terms) - np.log(len(stretches(pattern))))


@pytest.mark.parametrize(("pattern", "begin", "end"), [("changed", 120, 200), ("began", 0, 80), ("lapsed", 60, 140)])
def test_the_stretch_that_was_not_read_is_found(pattern: str, begin: int, end: int) -> None:
    rng = np.random.default_rng(2)
    right = rng.random(200) < 0.9
    right[begin:end] = rng.random(end - begin) < 0.5
    cast = np.where(right, 0.9, 0.1)[:, None]
    found = change_evidence(np.zeros(200, dtype=np.int32), 1, np.arange(200), cast, np.ones(1))
    at = PATTERNS.index(pattern)
    assert found.stretch[0, at] == pytest.approx([begin / 200, end / 200], abs=0.08)
    assert found.evidence[0, at] > np.log(cast).sum() + 5
    assert found.evidence[0].argmax() == at


def test_speed_night_and_tiring() -> None:
    """Ten people vote every half a minute by day; one votes every second; one at night; one gets worse."""
    rng = np.random.default_rng(3)
    who = np.repeat(np.arange(13), 120)
    gaps = np.where(who == 10, 1.0, rng.normal(30, 5, len(who)).clip(5))
    start = 1_767_600_000 // 86400 * 86400 + np.where(who == 11, 2, 10) * 3600  # two, or ten o'clock
    time = (start + np.concatenate([np.cumsum(gaps[who == k]) for k in range(13)])).astype(np.int64)
    in_session = np.tile(np.arange(120), 13)
    right = np.where(rng.random(len(who)) < np.where(who == 12, 1 - in_session / 120, 0.8), 0.9, 0.1)
    order = np.lexsort((time, who))
    found = timing(who.astype(np.int32), time, right.astype(np.float32), order, 13)
    assert found.gap[0] == pytest.approx(30, abs=2)
    assert found.gap[10] == pytest.approx(1)
    assert found.fast_p[10] < 1e-6 < found.fast_p[:10].min()
    assert found.night.tolist() == [0] * 11 + [120, 0]
    assert found.tiring_p[12] < 1e-6 < found.tiring_p[:12].min()
    assert (found.sessions == 1).all()


def test_clocks_that_run_backwards_and_times_that_are_unknown() -> None:
    who = np.zeros(12, dtype=np.int32)
    time = np.array([100, 90, 80, -1, -1, 2**40, 5, 6, 7, 8, 9, 10])
    found = timing(who, time, np.full(12, 0.8, dtype=np.float32), np.lexsort((time, who)), 1)
    assert found.dated[0] == 10
    assert np.isfinite(found.gap[0])


def test_answers_that_follow_a_pattern() -> None:
    rng = np.random.default_rng(4)
    who = np.repeat(np.arange(40), 100)
    residual = rng.normal(0, 0.4, len(who))
    residual[who == 0] = 0.5 * (-1.0) ** np.arange(100)
    residual[who == 1] = 0.5 * np.sign(np.sin(np.arange(100) * np.pi / 2 + 0.1))  # two of each
    p = regularity_p_values(who, residual, np.arange(len(who)), 40)
    assert p[:2].max() < 1e-6
    assert p[2:].min() > 1e-4
    assert regularity_p_values(who[:10], residual[:10], np.arange(10), 1).tolist() == [1.0]


def test_calibration_by_hand() -> None:
    """Ten votes at .95 of which half are right, ten at .55 of which half are right: ECE = (.45 + .05) / 2."""
    who = np.repeat([0, 1], 10)
    stated = np.repeat([0.95, 0.55], 10)
    found = calibration(who, stated, np.tile([1.0, 0.0], 10), 2)
    assert found.ece == pytest.approx(0.25)
    assert found.overconfidence.tolist() == pytest.approx([0.45, 0.05])
    assert [n for _, _, n in found.curve] == [10, 10]


def test_who_stays_sure_and_stops_reading() -> None:
    rng = np.random.default_rng(9)
    who = np.repeat(np.arange(50), 100)
    later = np.tile(np.arange(100) >= 50, 50)
    right = (rng.random(5000) < np.where((who == 0) & later, 0.5, 0.9)).astype(float)
    found = calibration(who, np.full(5000, 0.9), right, 50, np.arange(5000))
    assert found.drift[0] == pytest.approx(right[:50].mean() - right[50:100].mean())
    assert found.drift_p[0] < 1e-4 < np.sort(found.drift_p)[1]
    assert (calibration(who, np.full(5000, 0.9), right, 50).drift_p == 1).all()


def test_a_taste_of_the_whole_crowd_is_learned() -> None:
    """Log odds of ±1 by the item, .2 for the first and .3 for the longer response."""
    rng = np.random.default_rng(10)
    n = 60_000
    first, longer = rng.integers(0, 2, n).astype(np.int8), rng.integers(-1, 2, n).astype(np.int8)
    x = rng.choice([-1.0, 1.0], n)
    shift = 0.2 * (2 * first - 1) + 0.3 * np.where(longer < 0, 0, 2 * longer - 1)
    choice = (rng.random(n) < 1 / (1 + np.exp(-x - shift))).astype(np.int8)
    b = Ballots(np.zeros(n, np.int32), np.arange(n, dtype=np.int32), choice, np.full(n, -1, np.int8), 1, first, longer)
    found = crowd_tastes(cue_signs(b), np.arange(n), choice - 1 / (1 + np.exp(-x)), np.ones(n))
    assert len(found.shift) == 6
    assert found.shift[found.combination] == pytest.approx(shift, abs=0.05)


def test_topic_contrast_by_hand() -> None:
    """Two votes of probability .8 on a topic: turning both round gains 2 log(.2 / .8)."""
    who, topic = np.array([0, 0, 0], dtype=np.int32), np.array([0, 0, 1], dtype=np.int32)
    table = contrasts(who, topic, np.array([[0.8], [0.8], [0.3]]))
    assert table.contrast[:, 0].tolist() == pytest.approx([2 * np.log(0.25), np.log(0.7 / 0.3)])
    honest = np.array([[2 * np.log(0.8) + np.log(0.3)]])
    evidence, target = topic_evidence(table, np.zeros(2, dtype=bool), honest, np.ones(1))
    both = [2 * np.log(0.2) + np.log(0.3), 2 * np.log(0.8) + np.log(0.7)]
    assert evidence[0] == pytest.approx(logsumexp(both) - np.log(2))
    assert target.tolist() == [1]


def test_a_view_that_many_hold_is_a_dispute() -> None:
    rng = np.random.default_rng(5)
    people, votes = 200, 30
    who = np.repeat(np.arange(people), 2 * votes).astype(np.int32)
    topic = np.tile(np.repeat([0, 1], votes), people).astype(np.int32)
    other = (who < 24) & (topic == 0)
    cast = np.where(rng.random(len(who)) < np.where(other, 0.2, 0.8), 0.8, 0.2)[:, None]
    table = contrasts(who, topic, cast)
    by_skill = np.bincount(who, np.log(cast[:, 0]))[:, None]
    unreliable = np.full(people, 2 * votes * np.log(0.5) + np.log(0.05))
    turned = turned_round(table, Beside(by_skill, np.ones(1), unreliable, 0.05, np.ones(people, dtype=bool)))
    assert turned.share[0] == pytest.approx(0.12, abs=0.03)
    assert disputed_topics(turned, table, 0.05).tolist() == [True, False]
    assert turned.posterior[(table.topic == 0) & (table.who < 24)].min() > 0.5
    assert turned.trusted.all()


def test_the_lower_median_of_each_group() -> None:
    rng = np.random.default_rng(14)
    group = np.sort(rng.integers(0, 30, 400))
    group[group == 7] = 8
    values = np.log(rng.choice([0.5, 1.0, 1.5, 40.0], 400), dtype=np.float32)  # of both signs, and some alike
    found = _median_by(group, values, 31)
    assert np.isnan(found[[7, 30]]).all()
    for k in np.unique(group):
        mine = np.sort(values[group == k])
        assert found[k] == mine[(len(mine) - 1) // 2]


def test_the_mixture_recovers_its_parameters() -> None:
    rng = np.random.default_rng(6)
    skills = np.array([0.5, 0.75, 1.0, 1.25, 1.5])
    true = np.r_[rng.normal(1.0, 0.2, 1900).clip(0.3), np.full(100, -1.0)]
    evidence = np.stack([-50 * (true - s) ** 2 for s in (*skills, -1.0)], axis=1)
    tolerated = np.array([True] * 5 + [False])
    found = fit_mixture(evidence, skills, tolerated)
    assert found.weights[5] == pytest.approx(0.05, abs=0.003)
    assert found.centre == pytest.approx(1.0, abs=0.03)
    assert found.posterior[1900:, 5].min() > 0.99
    shapes = np.array([0.3, 0.5]), np.array([8.0, 4.0])
    assert skill_weights(skills, np.ones(2), *shapes).sum(axis=1) == pytest.approx(1.0)


def test_a_crowd_with_few_votes_each_has_no_narrow_middle() -> None:
    """Skills of spread .25 and evidence as wide: one best spread may be near nothing, and who is off the middle accused."""
    rng = np.random.default_rng(11)
    skills = np.array([0.15, 0.25, 0.35, 0.5, 0.65, 0.8, 1.0, 1.2, 1.45, 1.75, 2.2])
    seen = rng.normal(rng.normal(1.0, 0.25, 800), 0.45)
    evidence = np.stack([-((seen - s) ** 2) / (2 * 0.45**2) for s in (*skills, 0.0)], axis=1)
    found = fit_mixture(evidence, skills, np.arange(12) < 11, tails=TAILS)
    assert 0.15 < found.spread < 0.35
    assert found.weights.sum() == pytest.approx(1.0)
    assert found.posterior.sum(axis=1) == pytest.approx(np.ones(800))
    assert found.posterior[:, 11].max() < 0.9


def test_who_is_in_a_suspicious_cell_is_suspected_more() -> None:
    rng = np.random.default_rng(12)
    skills = np.array([0.8, 1.0, 1.2])
    evidence = np.stack([np.zeros(600), np.zeros(600), np.zeros(600), rng.normal(-1, 1, 600)], axis=1)
    evidence[:60, 3] = 6.0
    cells = np.where(np.arange(600) < 70, 5, 0)  # sixty of these seventy are bad, nobody else
    found = fit_mixture(evidence, skills, np.arange(4) < 3, cells)
    alike = fit_mixture(evidence, skills, np.arange(4) < 3)
    assert found.posterior[60:70, 3].mean() > alike.posterior[60:70, 3].mean() + 0.2
    assert found.posterior[70:, 3].mean() < 0.02


def test_sums_over_many_annotators_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(15)
    weights, likelihood = rng.dirichlet(np.ones(20), 28), rng.random((2003, 20))
    cell = _cell(likelihood, len(weights))
    assert np.concatenate([np.arange(2003)[some] for some in cell.sums]).tolist() == list(range(2003))
    assert max(some.stop - some.start for some in cell.sums) <= PEOPLE
    expected, log_likelihood = _expected(weights, cell)
    each = weights @ likelihood.T
    np.testing.assert_allclose(expected, weights * ((1 / each) @ likelihood))
    np.testing.assert_allclose(log_likelihood, np.log(each).sum(axis=1))


def test_what_goes_wrong_on_the_core_beside_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Ballots) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tasks.annotator_findings.crowd_agreement", broken)
    with pytest.raises(ZeroDivisionError):
        find(ballots(np.tile(np.arange(5), 40), np.repeat(np.arange(40), 5), np.ones(200)), ANNOTATORS)


def test_dawid_skene_where_every_answer_is_known() -> None:
    """Then the M-step is all: a = (3 + right on ones) / (4 + ones); reliability = (3 + right) / (4 + votes)."""
    who, item = np.zeros(6, dtype=int), np.arange(6)
    known = np.array([1, 1, 1, 1, 0, 0], dtype=np.int8)
    choice = np.array([1, 1, 1, 0, 0, 1])
    assert one_coin(who, item, choice, known).reliability[0] == pytest.approx((3 + 4) / (4 + 6), abs=1e-6)
    found = two_coin(ballots(who, item, choice, known), np.array([0.7]))
    assert found.right_on_one[0] == pytest.approx((3 + 3) / (4 + 4), abs=1e-6)
    assert found.right_on_zero[0] == pytest.approx((3 + 1) / (4 + 2), abs=1e-6)


def test_copying_is_found_and_agreeing_is_not() -> None:
    rng = np.random.default_rng(7)
    people, items = 12, 400
    truth = rng.integers(0, 2, items)
    who = np.concatenate([rng.choice(people, 8, replace=False) for _ in range(items)])
    item = np.repeat(np.arange(items), 8)
    choice = np.where(rng.random(len(who)) < 0.85, truth[item], 1 - truth[item])
    script = rng.integers(0, 2, items)  # what the three copy from
    copies = who < 3
    choice[copies] = script[item[copies]]
    b = ballots(who, item, choice)
    assert shared_items(b).shared.min() >= 8
    model = ResponseModel(b)
    found = find_groups(model, shared_items(b), model.fit().spread, 0.01)
    assert (found.group[:3] == found.group[0]).all()
    assert found.group[0] >= 0
    assert (found.group[3:] == -1).all()


def test_the_response_model_anchors_on_golden_items() -> None:
    """Six of ten turn answers round: alone they would be believed."""
    rng = np.random.default_rng(8)
    items = 600
    truth = rng.integers(0, 2, items)
    who = np.concatenate([rng.choice(10, 5, replace=False) for _ in range(items)])
    item = np.repeat(np.arange(items), 5)
    right = rng.random(len(who)) < np.where(who < 6, 0.1, 0.9)
    known = np.where(np.arange(items) < 60, truth, -1).astype(np.int8)
    model = ResponseModel(ballots(who, item, np.where(right, truth[item], 1 - truth[item]), known))
    model.fit()
    crowd = model.judge()
    mean, _ = crowd.accuracy(crowd.mixture.posterior, np.full(10, 0.5), np.full(10, 300.0))
    assert mean[:6].max() < 0.3
    assert mean[6:].min() > 0.7


@pytest.mark.parametrize("right", [0.97, 0.9])
def test_where_the_preferred_response_is_stored_first_nobody_is_suspected_of_answering_a(right: float) -> None:
    rng = np.random.default_rng(0)
    who, item = (part.ravel() for part in np.meshgrid(np.arange(3), np.arange(800)))
    found = find(ballots(who, item, rng.random(len(who)) < right), ANNOTATORS)
    assert not found.flag.any()


def test_answering_a_always_stands_out_where_most_items_are_a() -> None:
    rng = np.random.default_rng(1)
    people, items = 40, 600
    is_a = rng.random(items) < 0.8
    item, who = (part.ravel() for part in np.meshgrid(np.arange(items), np.arange(people), indexing="ij"))
    kept = rng.random(len(item)) < 0.3
    item, who = item[kept], who[kept]
    choice = np.where(rng.random(len(item)) < 0.85, is_a[item], ~is_a[item])
    choice[who < 2] = True
    flagged = np.flatnonzero(find(ballots(who, item, choice), ANNOTATORS).flag)
    assert flagged.tolist() == [0, 1]

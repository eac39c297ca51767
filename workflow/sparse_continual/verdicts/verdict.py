"""The word that a claim earns, by rule alone.

In this order:
- `not tested`: the study itself states that it does not test the claim, and why;
- `exploratory`: the claim is declared exploratory, or a confirmatory study had no registration before its runs, or the
  claim is not the registered one;
- `descriptive`: fewer than six units; or so few that differ that the exact test cannot reach the level for any
  differences; or blocks in which the metric is not defined, which collapses can cause;
- `gate failed`: it is not shown that the side claimed to forget less learnt as much as the other, up to the margin.
  A model that learns nothing forgets nothing, so no statement is made about forgetting or transfer;
- `shown`: Holm's p over the separate confirmatory claims, each with the larger p of its test and its gate, is below the
  level, and the exact sign-flip test agrees, and so does the bootstrap-t interval if differences are skewed or an arm
  collapsed. The sign-flip test is not adjusted: it checks the t test's assumptions and is not a second guard of the
  family; it is so coarse that adjusting it would reduce power as n grows from 7 to 8;
- `contradicted`: the same, in the direction opposite to the claim;
- `equivalent`: two one-sided tests and the gates of both sides, each at the level over the number of confirmatory
  claims, put the difference within the claim's margin;
- `not distinguished`: anything else. It is not evidence of equality.
"""

MINIMUM_BLOCKS = 6
WORDS = (
    "shown",
    "contradicted",
    "equivalent",
    "not distinguished",
    "descriptive",
    "gate failed",
    "exploratory",
    "not tested",
)


def verdict(
    *,
    level: float,
    n: int,
    exact_smallest: float,
    complete: bool,
    gate_passed: bool,
    p: float,
    exact_p: float,
    bootstrap_agrees: bool,
    toward: bool,
    tost_p: float,
    tost_level: float,
    rule: str = "superiority",
    exploratory: bool = False,
) -> str:
    """One of WORDS.

    n: units; exact_smallest: smallest p that the exact test can reach; complete: whether the metric is defined in every
    block; gate_passed: whether the side favoured by the claim is shown, by itself, not to have learnt less; p: the
    larger of the test's and the gate's on the side favoured by the estimate, adjusted for the other claims; exact_p:
    unadjusted; toward: whether the estimate lies on the claim's side; tost_p: the largest p of the two one-sided tests
    and both gates, NaN if the claim has no margin. For a claim of equivalence (rule `equivalence`) p and exact_p are
    unused, and toward states whether the simultaneous interval overlaps the margin.
    """
    if rule == "untested":
        return "not tested"
    if exploratory:
        return "exploratory"
    if n < MINIMUM_BLOCKS or exact_smallest >= level or not complete:
        return "descriptive"
    if not gate_passed:
        return "gate failed"
    if rule != "equivalence" and p < level and exact_p < level and bootstrap_agrees:
        return "shown" if toward else "contradicted"
    if tost_p < tost_level:
        return "equivalent"
    if rule == "equivalence" and not toward:
        return "contradicted"
    return "not distinguished"


def component(joint: str, alone: str) -> str:
    """The word of a member of an intersection-union claim; `own` is its word if it were tested alone.

    A member is not a claim of its own. A decided joint claim holds for each member. If the joint claim is not decided,
    a member that would be significant alone is exploratory.
    """
    if joint in ("shown", "contradicted", "equivalent", "exploratory", "not tested"):
        return joint
    return "exploratory" if alone in ("shown", "contradicted", "equivalent") else alone

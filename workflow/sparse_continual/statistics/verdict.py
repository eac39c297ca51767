"""The word that a tested difference earns, by rule alone.

In this order:
- `descriptive`: fewer than six blocks, too few to say more;
- `gate failed`: it is not shown that the plus side learns as much as the minus side, up to the margin.
  A model that learns nothing forgets nothing, so nothing is said about forgetting or transfer;
- `descriptive` again: so few blocks that differ that the exact test cannot reach the level, whatever the
  differences are;
- `shown`: Holm's p over the family is below the level, and the exact sign-flip test agrees: adjusted
  in the same way where so few blocks can get that low, else unadjusted (and the report says so);
- `not distinguished`: anything else. It is not evidence of equality.
"""

MINIMUM_BLOCKS = 6


def verdict(
    n: int,
    gate_passed: bool,
    holm_p: float,
    flip_p: float,
    flip_holm_p: float,
    flip_reaches_level: bool,
    flip_reaches_holm: bool,
    level: float,
) -> str:
    """One of `descriptive`, `gate failed`, `shown`, `not distinguished`."""
    if n < MINIMUM_BLOCKS:
        return "descriptive"
    if not gate_passed:
        return "gate failed"
    if not flip_reaches_level:
        return "descriptive"
    agrees = (flip_holm_p if flip_reaches_holm else flip_p) < level
    return "shown" if holm_p < level and agrees else "not distinguished"

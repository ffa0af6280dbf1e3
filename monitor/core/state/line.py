"""A straight line through a stream of points, in O(1) for each. Pure."""

from __future__ import annotations

import msgspec


class Line(msgspec.Struct):
    """A straight line through points: least squares whose weights fall off exponentially. `at` is a time or a count."""

    points: int = 0
    mean_at: float = 0.0
    mean: float = 0.0
    var_at: float = 0.0
    var: float = 0.0
    covar: float = 0.0
    last_at: float = 0.0
    last: float = 0.0

    @property
    def slope(self) -> float:
        """Units of the value for each one of `at`."""
        return self.covar / self.var_at if self.var_at > 0.0 else 0.0

    @property
    def fit(self) -> float:
        """R squared: the share of the value's variance that the line explains."""
        return self.covar * self.slope / self.var if self.var > 0.0 else 0.0

    @property
    def ahead(self) -> float:
        """Where the last point lies along the rise since the mean: 1 on the line, below it where the rise bends."""
        rise = self.slope * (self.last_at - self.mean_at)
        return (self.last - self.mean) / rise if rise else 0.0


def take_point(line: Line, at: float, value: float, points: int) -> None:
    """One more point of the line. A point's weight falls to 1/e after `points` more."""
    line.points += 1
    line.last_at, line.last = at, value
    weight = 1.0 / min(line.points, points)
    off_at, off = at - line.mean_at, value - line.mean
    line.mean_at += weight * off_at
    line.mean += weight * off
    keep = 1.0 - weight
    line.var_at = keep * (line.var_at + weight * off_at * off_at)
    line.var = keep * (line.var + weight * off * off)
    line.covar = keep * (line.covar + weight * off_at * off)

//! What a filter says of when calls were decided.

use datafusion::common::Column;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;

/// Decided at `from` or later, and before `to`, in microseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) from: Option<i64>,
    pub(super) to: Option<i64>,
}

impl Bounds {
    /// The bounds that every call within `filter` keeps; none where it sets none.
    pub(super) fn of(filter: &Expr) -> Option<Self> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else {
            return None;
        };
        let (at, op) = match (&**left, &**right) {
            (column, Expr::Literal(at, _)) if is_decided_at(column) => (at, *op),
            (Expr::Literal(at, _), column) if is_decided_at(column) => (at, op.swap()?),
            _ => return None,
        };
        let ScalarValue::TimestampMicrosecond(Some(at), _) = at else {
            return None;
        };
        let (here, after) = (Some(*at), at.checked_add(1));
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "of all operators, these bound a time"
        )]
        match op {
            Operator::Lt => Some(Self {
                from: None,
                to: here,
            }),
            Operator::LtEq => Some(Self {
                from: None,
                to: after,
            }),
            Operator::Gt => Some(Self {
                from: after,
                to: None,
            }),
            Operator::GtEq => Some(Self {
                from: here,
                to: None,
            }),
            Operator::Eq => Some(Self {
                from: here,
                to: after,
            }),
            _ => None,
        }
    }

    /// Both bounds at once.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            from: self.from.max(other.from),
            to: self.to.into_iter().chain(other.to).min(),
        }
    }
}

fn is_decided_at(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(Column { name, .. }) if name == "decided_at")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use datafusion::prelude::{col, lit};
    use datafusion::scalar::ScalarValue;

    use super::Bounds;

    #[test]
    fn comparisons_with_the_time_of_decision_are_bounds() {
        let at = |micros| {
            lit(ScalarValue::TimestampMicrosecond(
                Some(micros),
                Some("UTC".into()),
            ))
        };
        let of = |expr| Bounds::of(&expr).map(|bounds| (bounds.from, bounds.to));
        let decided = || col("decided_at");
        assert_eq!(of(decided().lt(at(5))), Some((None, Some(5))));
        assert_eq!(of(decided().lt_eq(at(5))), Some((None, Some(6))));
        assert_eq!(of(at(5).lt(decided())), Some((Some(6), None)));
        assert_eq!(of(decided().gt_eq(at(5))), Some((Some(5), None)));
        assert_eq!(of(decided().eq(at(5))), Some((Some(5), Some(6))));
        assert_eq!(of(decided().not_eq(at(5))), None);
        assert_eq!(of(col("received_at").lt(at(5))), None);
        let both = Bounds {
            from: Some(3),
            to: None,
        };
        let both = both.and(Bounds {
            from: Some(2),
            to: Some(9),
        });
        assert_eq!((both.from, both.to), (Some(3), Some(9)));
    }
}

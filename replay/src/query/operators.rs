//! `arguments -> '$.id'` and `arguments ->> '$.id'`: JSON operators as other databases have them.

use std::sync::Arc;

use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::sqlparser::ast::BinaryOperator;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Like, ScalarUDF, lit};
use datafusion::scalar::ScalarValue;

/// Plans both operators as the functions that they stand for.
#[derive(Debug)]
pub(super) struct JsonOperators {
    /// `->`
    pub(super) json: Arc<ScalarUDF>,
    /// `->>`
    pub(super) text: Arc<ScalarUDF>,
}

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let function = if expr.op == BinaryOperator::Arrow {
            &self.json
        } else if expr.op == BinaryOperator::LongArrow {
            &self.text
        } else {
            return Ok(PlannerResult::Original(expr));
        };
        let RawBinaryExpr { left, right, .. } = expr;
        Ok(PlannerResult::Planned(grafted(function, left, right)))
    }
}

/// `left -> right`, where the parser took too much for `right`: in its grammar `->` binds looser than
/// a comparison, so `a -> '$.id' = '7'` comes as `a -> ('$.id' = '7')`. A comparison is no place in
/// JSON, so what is meant is the operator applied to the constant that the comparison begins with.
fn grafted(function: &Arc<ScalarUDF>, left: Expr, right: Expr) -> Expr {
    let graft = |left: Expr, inner: Box<Expr>| Box::new(grafted(function, left, *inner));
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "of all expressions, these bind tighter than the operator and begin with another"
    )]
    match right {
        Expr::BinaryExpr(BinaryExpr {
            left: inner,
            op,
            right,
        }) => Expr::BinaryExpr(BinaryExpr {
            left: graft(left, inner),
            op,
            right,
        }),
        Expr::Like(like) => Expr::Like(Like {
            expr: graft(left, like.expr),
            ..like
        }),
        Expr::InList(list) => Expr::InList(InList {
            expr: graft(left, list.expr),
            ..list
        }),
        Expr::Between(between) => Expr::Between(Between {
            expr: graft(left, between.expr),
            ..between
        }),
        Expr::IsNull(inner) => Expr::IsNull(graft(left, inner)),
        Expr::IsNotNull(inner) => Expr::IsNotNull(graft(left, inner)),
        // The place of an element: `disks -> 0`.
        Expr::Literal(ScalarValue::Int64(Some(place)), _) => {
            called(function, left, lit(format!("$[{place}]")))
        }
        place => called(function, left, place),
    }
}

fn called(function: &Arc<ScalarUDF>, text: Expr, place: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(
        Arc::clone(function),
        vec![text, place],
    ))
}

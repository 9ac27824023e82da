//! An expression as it was written: every part knows its place in the text, names are still names.

use crate::{
    decimal::Decimal,
    expr::{Arithmetic, Comparison, lexer::Span},
    time::Millis,
};

#[derive(Clone, Debug)]
pub(super) struct Expr {
    pub(super) node: Node,
    pub(super) span: Span,
    /// Levels of the tree below and including this one.
    pub(super) height: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Or(Vec<Expr>),
    And(Vec<Expr>),
    Not(Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    Negate(Box<Expr>),
    Bool(bool),
    Number {
        text: String,
        value: Decimal,
    },
    Duration(Millis),
    Text(String),
    Name(Name),
    Has(Name),
    InSegment(Name),
    /// A part that was reported already, with the names in it.
    Broken(Vec<Name>),
}

#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) text: String,
    /// Written without backticks, so that it can be a keyword.
    pub(super) bare: bool,
    pub(super) span: Span,
}

//! Builds the tree of an expression, before names and types are looked at.
//!
//! From the loosest to the tightest: `or`, `and`, `not`, comparisons, `+ -`, `* /`, unary `-`. A part that can't
//! be read is reported, skipped to the next `and`, `or` or closing parenthesis, and stands in the tree as
//! [`Node::Broken`], so that the rest of the expression is still checked.

use crate::{
    expr::{
        Arithmetic, Comparison, ParseError, ParseErrorKind,
        lexer::{self, Span, Token},
        tree::{Expr, Name, Node},
    },
    suggest::nearest,
};

/// How deep an expression may be nested, in the text and as a tree. Everything that walks one may recurse.
const MAX_DEPTH: usize = 64;
/// After this many errors nobody reads on.
pub(super) const MAX_ERRORS: usize = 100;

/// The tree, and what was wrong with the text; with errors the tree is only good for finding more of them.
pub(super) fn parse(text: &str) -> (Option<Expr>, Vec<ParseError>) {
    let lexed = lexer::lex(text);
    if let Some(error) = sequence(text, &lexed.tokens) {
        return (None, vec![error]);
    }
    let mut parser =
        Parser { text, tokens: &lexed.tokens, at: 0, depth: 0, errors: lexed.errors, is_hopeless: false };
    // Where something was left out already, what seems to be missing is no news.
    let known_errors = parser.errors.len();
    let tree = parser.whole();
    let mut errors = parser.errors;
    if lexed.has_gaps {
        let mut at = 0;
        errors.retain(|error| {
            at += 1;
            at <= known_errors || error.kind != ParseErrorKind::Syntax
        });
    }
    (Some(tree), errors)
}

/// Recognizes `"Checkout Started" then not "Order Completed" within 30m`: two operands side by side never stand in
/// anything else.
fn sequence(text: &str, tokens: &[(Token, Span)]) -> Option<ParseError> {
    let operator = |word: &str| {
        tokens.windows(2).find_map(|pair| {
            let follows_operand = matches!(
                pair[0].0,
                Token::Name { .. }
                    | Token::Text(_)
                    | Token::Number { .. }
                    | Token::Duration(_)
                    | Token::True
                    | Token::False
                    | Token::Close
            );
            let is_word = matches!(&pair[1].0, Token::Name { text, bare: true } if text == word);
            (follows_operand && is_word).then_some((word.to_owned(), pair[1].1))
        })
    };
    let (word, span) = operator("then").or_else(|| operator("within"))?;
    let message = format!("sequences of events with `{word}` are not built yet");
    Some(ParseError::new(ParseErrorKind::NotBuilt, text, span, message))
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [(Token, Span)],
    at: usize,
    depth: usize,
    errors: Vec<ParseError>,
    /// Nested too deep or wrong too often: the rest of the text is not looked at.
    is_hopeless: bool,
}

type Parsed = Result<Expr, ParseError>;

impl Parser<'_> {
    fn whole(&mut self) -> Expr {
        let first = self.or();
        let mut all = vec![first];
        // Only a closing parenthesis without an opening one stops before the end.
        while self.at < self.tokens.len() {
            let error = self.syntax(self.here(), "this `)` closes nothing".into());
            self.report(error);
            self.at += 1;
            if matches!(self.peek(), Some(Token::And | Token::Or)) {
                self.at += 1;
            }
            if !matches!(self.peek(), None | Some(Token::Close)) {
                all.push(self.or());
            }
        }
        self.list(all, Node::And)
    }

    fn or(&mut self) -> Expr {
        let first = self.and();
        let mut all = vec![first];
        while self.takes_word(&Token::Or, "or") {
            all.push(self.and());
        }
        self.list(all, Node::Or)
    }

    fn and(&mut self) -> Expr {
        let first = self.operand();
        let mut all = vec![first];
        while self.takes_word(&Token::And, "and") {
            all.push(self.operand());
        }
        self.list(all, Node::And)
    }

    fn list(&mut self, mut all: Vec<Expr>, node: fn(Vec<Expr>) -> Node) -> Expr {
        if all.len() == 1
            && let Some(only) = all.pop()
        {
            return only;
        }
        let span = (all[0].span.0, all[all.len() - 1].span.1);
        let height = 1 + all.iter().map(|expr| expr.height).max().unwrap_or(0);
        match self.checked(Expr { node: node(all), span, height }) {
            Ok(expr) => expr,
            Err(error) => {
                self.report(error);
                Expr { node: Node::Broken(Vec::new()), span, height: 1 }
            }
        }
    }

    /// What stands between `and`s and `or`s. Never fails: what can't be read is reported and skipped.
    fn operand(&mut self) -> Expr {
        let from = self.at;
        let result = self.not().and_then(|expr| match self.peek() {
            None | Some(Token::And | Token::Or | Token::Close) => Ok(expr),
            Some(_) if self.is_word("and") || self.is_word("or") => Ok(expr),
            Some(_) => Err(self.expected("`and`, `or` or the end")),
        });
        result.unwrap_or_else(|error| {
            self.report(error);
            let names = self.tokens[from..self.at].iter().filter_map(|(token, span)| match token {
                Token::Name { text, bare } => Some(Name { text: text.clone(), bare: *bare, span: *span }),
                _ => None,
            });
            let node = Node::Broken(names.collect());
            let start = self.tokens.get(from).map_or(self.text.len(), |(_, span)| span.0);
            self.skip(from);
            Expr { node, span: (start, self.here().0.max(start)), height: 1 }
        })
    }

    fn not(&mut self) -> Parsed {
        let start = self.here().0;
        let is_shouted = self.is_word("not")
            && self.tokens.get(self.at + 1).is_some_and(|(token, _)| {
                !matches!(
                    token,
                    Token::Compare(_)
                        | Token::Plus
                        | Token::Minus
                        | Token::Star
                        | Token::Slash
                        | Token::Close
                )
            });
        if self.peek() != Some(&Token::Not) && !is_shouted {
            return self.comparison();
        }
        if is_shouted {
            self.report_case("not");
        }
        self.at += 1;
        let inner = self.nested(Self::not)?;
        self.node(start, inner.height, Node::Not(Box::new(inner)))
    }

    fn comparison(&mut self) -> Parsed {
        let left = self.sum()?;
        let Some(operator) = self.comparison_operator() else { return Ok(left) };
        let right = self.sum()?;
        let (start, height) = (left.span.0, left.height.max(right.height));
        let Some(next) = self.comparison_operator() else {
            return self.node(start, height, Node::Compare(operator, left.into(), right.into()));
        };

        let third = self.sum()?;
        let text = self.text;
        let [low, middle, high] = [&left, &right, &third].map(|expr| &text[expr.span.0..expr.span.1]);
        let instead = format!("{low} {operator} {middle} and {middle} {next} {high}");
        let message = "comparisons can't be chained; write two of them with `and` between";
        self.report(self.syntax((start, third.span.1), message.into()).suggest(instead));
        let height = height.max(third.height);
        let first = self.node(start, height, Node::Compare(operator, left.into(), right.clone().into()))?;
        let second = self.node(right.span.0, height, Node::Compare(next, right.into(), third.into()))?;
        self.node(start, height + 1, Node::And(vec![first, second]))
    }

    fn comparison_operator(&mut self) -> Option<Comparison> {
        let Some(Token::Compare(operator)) = self.peek() else { return None };
        let operator = *operator;
        self.at += 1;
        Some(operator)
    }

    fn sum(&mut self) -> Parsed {
        self.chain(Self::product, |token| match token {
            Token::Plus => Some(Arithmetic::Add),
            Token::Minus => Some(Arithmetic::Subtract),
            _ => None,
        })
    }

    fn product(&mut self) -> Parsed {
        self.chain(Self::unary, |token| match token {
            Token::Star => Some(Arithmetic::Multiply),
            Token::Slash => Some(Arithmetic::Divide),
            _ => None,
        })
    }

    /// Operands with operators of one precedence between them, grouped from the left.
    fn chain(
        &mut self,
        operand: fn(&mut Self) -> Parsed,
        operator: fn(&Token) -> Option<Arithmetic>,
    ) -> Parsed {
        let mut left = operand(self)?;
        while let Some(operator) = self.peek().and_then(operator) {
            self.at += 1;
            let right = operand(self)?;
            let (start, height) = (left.span.0, left.height.max(right.height));
            left = self.node(start, height, Node::Arithmetic(operator, left.into(), right.into()))?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let start = self.here().0;
        if self.peek() != Some(&Token::Minus) {
            return self.primary();
        }
        self.at += 1;
        let inner = self.nested(Self::unary)?;
        self.node(start, inner.height, Node::Negate(inner.into()))
    }

    fn primary(&mut self) -> Parsed {
        let start = self.here().0;
        let node = match self.peek().cloned() {
            Some(Token::True) => Node::Bool(true),
            Some(Token::False) => Node::Bool(false),
            Some(Token::Number { text, value }) => Node::Number { text, value },
            Some(Token::Duration(value)) => Node::Duration(value),
            Some(Token::Text(text)) => Node::Text(text),
            Some(Token::Name { text, bare }) => {
                let called = bare && matches!(self.tokens.get(self.at + 1), Some((Token::Open, _)));
                if called {
                    return self.call(&text);
                }
                Node::Name(Name { text, bare, span: self.here() })
            }
            Some(Token::Open) => return self.parenthesized(),
            None if self.tokens.is_empty() => return Err(self.expected("a predicate such as `orders > 0`")),
            _ => return Err(self.expected("a value")),
        };
        self.at += 1;
        self.node(start, 0, node)
    }

    fn parenthesized(&mut self) -> Parsed {
        let (start, _) = self.here();
        self.at += 1;
        let mut inner = self.nested(|parser| Ok(parser.or()))?;
        if self.peek() != Some(&Token::Close) {
            return Err(self.expected("`)`"));
        }
        self.at += 1;
        inner.span = (start, self.end());
        Ok(inner)
    }

    /// `has(name)` or `in_segment(name)`.
    fn call(&mut self, function: &str) -> Parsed {
        let start = self.here().0;
        let node = match function {
            "has" => Node::Has,
            "in_segment" => Node::InSegment,
            _ => {
                let functions = ["has", "in_segment"];
                let mut error = self.syntax(self.here(), format!("there is no function `{function}`"));
                error.suggestion = nearest(function, functions.into_iter()).map(str::to_owned);
                return Err(error);
            }
        };
        self.at += 2;
        let name = match self.peek() {
            Some(Token::Name { text, bare }) => Name { text: text.clone(), bare: *bare, span: self.here() },
            Some(Token::Text(text)) => {
                let name = Name { text: text.clone(), bare: false, span: self.here() };
                let message = format!("`{function}` takes a name, which has no quotes");
                self.report(self.syntax(self.here(), message).suggest(name.text.clone()));
                name
            }
            _ => return Err(self.expected("a name")),
        };
        self.at += 1;
        if self.peek() != Some(&Token::Close) {
            return Err(self.expected(&format!("`)`, since `{function}` takes one name")));
        }
        self.at += 1;
        self.node(start, 0, node(name))
    }

    /// Runs `parse` one level deeper.
    fn nested(&mut self, parse: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        if self.depth == MAX_DEPTH {
            return Err(self.too_deep(self.here()));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// A node from `start` to the last token taken, above children of this height.
    fn node(&self, start: usize, children_height: usize, node: Node) -> Parsed {
        self.checked(Expr { node, span: (start, self.end()), height: children_height + 1 })
    }

    fn checked(&self, expr: Expr) -> Parsed {
        if expr.height > MAX_DEPTH { Err(self.too_deep(expr.span)) } else { Ok(expr) }
    }

    fn too_deep(&self, span: Span) -> ParseError {
        let message = format!("nested deeper than {MAX_DEPTH} levels");
        ParseError::new(ParseErrorKind::TooDeep, self.text, span, message)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    /// Where the next token is; behind the text if there is none.
    fn here(&self) -> Span {
        self.tokens.get(self.at).map_or((self.text.len(), self.text.len()), |(_, span)| *span)
    }

    /// Where the last token taken ends.
    fn end(&self) -> usize {
        self.at.checked_sub(1).map_or(0, |at| self.tokens[at].1.1)
    }

    /// Whether the next token is `keyword` in capitals.
    fn is_word(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Token::Name { text, bare: true }) if text.eq_ignore_ascii_case(keyword))
    }

    /// Takes a keyword that joins operands, also in capitals, which is reported.
    fn takes_word(&mut self, token: &Token, keyword: &str) -> bool {
        let is_shouted = self.is_word(keyword);
        if is_shouted {
            self.report_case(keyword);
        }
        let takes = is_shouted || self.peek() == Some(token);
        self.at += usize::from(takes);
        takes
    }

    fn report_case(&mut self, keyword: &str) {
        let error = self.syntax(self.here(), format!("`{keyword}` is written in lower case"));
        self.report(error.suggest(keyword));
    }

    fn syntax(&self, span: Span, message: String) -> ParseError {
        ParseError::new(ParseErrorKind::Syntax, self.text, span, message)
    }

    fn expected(&self, what: &str) -> ParseError {
        let (start, end) = self.here();
        let found = if start == self.text.len() { "the end" } else { &self.text[start..end] };
        let quote = if start == self.text.len() { "" } else { "`" };
        self.syntax((start, end), format!("expected {what}, found {quote}{found}{quote}"))
    }

    /// One mistake, one error: of several at one place only the first is kept.
    fn report(&mut self, error: ParseError) {
        let is_repeated =
            self.errors.iter().any(|known| known.start == error.start && known.kind == error.kind);
        if !self.is_hopeless && !is_repeated {
            self.is_hopeless = error.kind == ParseErrorKind::TooDeep || self.errors.len() >= MAX_ERRORS;
            self.errors.push(error);
        }
    }

    /// Goes on to the next place where the operand that began at token `from` can end.
    fn skip(&mut self, from: usize) {
        let mut open = 0usize;
        let mut at = from;
        while let Some((token, _)) = self.tokens.get(at) {
            let can_end = matches!(token, Token::And | Token::Or | Token::Close) && open == 0;
            if can_end && at >= self.at && !self.is_hopeless {
                break;
            }
            match token {
                Token::Open => open += 1,
                Token::Close => open = open.saturating_sub(1),
                _ => {}
            }
            at += 1;
        }
        self.at = at;
    }
}

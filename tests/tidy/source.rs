//! One Rust file as text and tokens. Tokens know nothing of comments, so words in prose are never taken for code.

use std::ops::Range;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A parsed file.
pub(crate) struct Source {
    /// Its path in the project, with `/`.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
    tokens: TokenStream,
}

/// A place in the tokens: one list of trees, as it stands between two delimiters.
pub(crate) struct Level<'a> {
    /// The trees of this level.
    pub(crate) trees: &'a [TokenTree],
    /// How many `mod name { ... }` it is inside of.
    pub(crate) inline_modules: usize,
}

impl Source {
    /// Takes a file apart.
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self, String> {
        let tokens = text.parse().map_err(|error| format!("{path}: {error}"))?;
        Ok(Self { path: path.to_owned(), text: text.to_owned(), tokens })
    }

    /// Calls `visit` with each level of the tokens.
    pub(crate) fn each_level(&self, mut visit: impl FnMut(Level<'_>)) {
        descend(self.tokens.clone(), 0, &mut visit);
    }

    /// A problem at a tree.
    pub(crate) fn problem(&self, tree: &TokenTree, message: &str) -> String {
        format!("{}:{}: {message}", self.path, tree.span().start().line)
    }

    /// The ranges of bytes of all literals that are none of a doc comment.
    pub(crate) fn literals(&self) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        self.each_level(|level| {
            for tree in level.trees {
                let TokenTree::Literal(literal) = tree else { continue };
                let range = literal.span().byte_range();
                let is_comment = self.text.get(range.clone()).is_some_and(|text| text.starts_with("//") || text.starts_with("/*"));
                if !is_comment {
                    found.push(range);
                }
            }
        });
        found
    }
}

fn descend(tokens: TokenStream, inline_modules: usize, visit: &mut impl FnMut(Level<'_>)) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    visit(Level { trees: &trees, inline_modules });
    for (at, tree) in trees.iter().enumerate() {
        if let TokenTree::Group(group) = tree {
            let is_module = at >= 2 && is_ident(&trees[at - 2], "mod") && group.delimiter() == Delimiter::Brace;
            descend(group.stream(), inline_modules + usize::from(is_module), visit);
        }
    }
}

/// Whether a file is all tests.
pub(crate) fn is_test(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.contains("/testing/")
        || path.ends_with("/testing.rs")
}

/// Whether a tree is this word.
pub(crate) fn is_ident(tree: &TokenTree, word: &str) -> bool {
    matches!(tree, TokenTree::Ident(ident) if ident == word)
}

/// Whether a tree is this sign.
pub(crate) fn is_punct(tree: Option<&TokenTree>, sign: char) -> bool {
    matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

/// The group in braces, if the tree is one.
pub(crate) fn braces(tree: &TokenTree) -> Option<&Group> {
    match tree {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
        _ => None,
    }
}

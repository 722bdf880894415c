//! Where in a file its mistake is, and the mistake in one line.

use super::CatalogueError;

impl CatalogueError {
    /// The line, from 1, of the `text` that was read: of the mistake itself, or of the name of the row that has it.
    pub fn line(&self, text: &str) -> Option<usize> {
        match self {
            Self::Syntax(error) => {
                let before = text.get(..error.span()?.start)?;
                Some(before.matches('\n').count() + 1)
            }
            Self::Row { metric, .. } => line_of_row(text, "[[metric]]", metric),
            Self::Engine { engine, .. } => line_of_row(text, "[[engine]]", engine),
        }
    }

    /// The mistake in one line, without an excerpt of the file.
    pub fn sentence(&self) -> String {
        match self {
            Self::Syntax(error) => error.message().lines().collect::<Vec<_>>().join("; "),
            Self::Row { .. } | Self::Engine { .. } => self.to_string(),
        }
    }
}

/// The last row of this name is the one at fault: of two, the second is one too many.
fn line_of_row(text: &str, table: &str, name: &str) -> Option<usize> {
    let (mut inside, mut found) = (false, None);
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if line.starts_with('[') {
            inside = line.starts_with(table);
        }
        let is_name = || {
            let value = line.strip_prefix("name")?.trim_start().strip_prefix('=')?.trim_start();
            let quoted = [format!("\"{name}\""), format!("'{name}'")];
            quoted.iter().any(|quoted| value.starts_with(quoted)).then_some(())
        };
        if inside && is_name().is_some() {
            found = Some(number);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::Catalogue;

    #[test]
    fn the_line_of_a_mistake() {
        let check = |text: &str, line: Option<usize>, sentence: &str| {
            let error = Catalogue::builtin().extended(text).unwrap_err();
            assert_eq!(error.line(text), line, "{text}");
            let said = error.sentence();
            assert!(said.contains(sentence) && !said.contains('\n'), "{said}");
        };
        check(
            "[[metric]]\nname = \"inflight\"\nkind = \"utilisation\"\n",
            Some(2),
            "`kind` cannot be changed",
        );
        check("[[metric]]\nname = \"inflight\"\n\ncolour = 1\n", Some(4), "unknown field `colour`");
        check("[[metric]\n", Some(1), "");
        check(
            "# mine\n[[engine]]\nname = 'vllm'\ntitle = \"V\"\nprefixes = [\"v:\"]\n",
            Some(3),
            "is known already",
        );
        check(
            "[[metric]]\nname = \"depth\"\nkind = \"additive\"\nunit = \"jobs\"\naggregation = \"sum\"\n\
             [[metric.alias]]\nengine = \"mine\"\ntype = \"gauge\"\nadd = [\"depth\"]\n",
            Some(2),
            "there is no engine `mine`",
        );
    }
}

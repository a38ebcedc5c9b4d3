//! Reads what the documentation guarantees.
//!
//! One idea: a guarantee is the text behind an anchor, up to the next anchor or the end of its paragraph, list item or table
//! row. What is not guaranteed is a list of its own, each item with a name in bold.

/// How a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Guaranteed,
    /// It does not hold yet, or nothing looks at it.
    Gap,
    /// Said not to be guaranteed.
    NotGuaranteed,
}

impl Standing {
    pub fn word(self) -> &'static str {
        match self {
            Standing::Guaranteed => "guaranteed",
            Standing::Gap => "gap",
            Standing::NotGuaranteed => "not-guaranteed",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Claim {
    pub id: String,
    /// The contract under whose heading it stands, `C1`; empty for what is not guaranteed.
    pub contract: String,
    pub text: String,
    pub standing: Standing,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Guarantees {
    pub claims: Vec<Claim>,
}

const ANCHOR: &str = "<a id=\"";

/// Reads the page.
///
/// # Errors
/// If an anchor is malformed or stands twice, or there is no guarantee at all.
pub fn read(page: &str) -> Result<Guarantees, String> {
    let mut claims: Vec<Claim> = Vec::new();
    let (mut contract, mut not_guaranteed) = (String::new(), false);
    for block in blocks(page) {
        if let Some(heading) = block.strip_prefix("### ") {
            contract = heading.split('.').next().unwrap_or_default().to_owned();
        } else if let Some(heading) = block.strip_prefix("## ") {
            not_guaranteed = heading == "Not guaranteed";
            contract.clear();
        } else if let (true, Some(item)) = (not_guaranteed, block.strip_prefix("- **")) {
            let name = item.split("**").next().unwrap_or_default();
            claims.push(Claim {
                id: slug(name),
                contract: String::new(),
                text: plain(&block),
                standing: Standing::NotGuaranteed,
            });
        } else {
            for part in block.split(ANCHOR).skip(1) {
                claims.push(claim(part, &contract)?);
            }
        }
    }
    for (i, claim) in claims.iter().enumerate() {
        if claims[..i].iter().any(|earlier| earlier.id == claim.id) {
            return Err(format!("the claim \"{}\" stands twice", claim.id));
        }
    }
    match claims.iter().any(|c| c.standing == Standing::Guaranteed) {
        true => Ok(Guarantees { claims }),
        false => Err("nothing is guaranteed".to_owned()),
    }
}

/// What follows `<a id="`.
fn claim(part: &str, contract: &str) -> Result<Claim, String> {
    let malformed = || format!("a malformed anchor: <a id=\"{part}");
    let (tag, text) = part.split_once("></a>").ok_or_else(malformed)?;
    let (id, standing) = match tag.strip_suffix('"').ok_or_else(malformed)?.split_once('"') {
        None => (tag.trim_end_matches('"'), Standing::Guaranteed),
        Some((id, " class=\"gap")) => (id, Standing::Gap),
        Some(_) => return Err(malformed()),
    };
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if id.is_empty() || !id.chars().all(good) {
        return Err(malformed());
    }
    if contract.is_empty() {
        return Err(format!("the claim \"{id}\" stands under no contract"));
    }
    Ok(Claim {
        id: id.to_owned(),
        contract: contract.to_owned(),
        text: plain(text),
        standing,
    })
}

/// Paragraphs, list items, table rows and headings, each on one line.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        let text = line.trim();
        let begins = ["- ", "|", "#"].iter().any(|mark| text.starts_with(mark));
        match blocks.last_mut() {
            _ if text.is_empty() => open = false,
            Some(last) if open && !begins => {
                last.push(' ');
                last.push_str(text);
            }
            _ => {
                blocks.push(text.to_owned());
                open = !text.starts_with(['|', '#']);
            }
        }
    }
    blocks
}

/// The words without Markdown's marks.
fn plain(text: &str) -> String {
    let cells = text.trim().trim_start_matches("- ").trim_matches('|');
    let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
    let cells: Vec<&str> = cells.into_iter().filter(|cell| !cell.is_empty()).collect();
    let mut text = cells.join("; ").replace("**", "").replace('`', "");
    // A link's text stays, its address goes.
    while let Some(middle) = text.find("](") {
        let (Some(start), Some(end)) = (text[..middle].rfind('['), text[middle..].find(')')) else {
            break;
        };
        let words = text[start + 1..middle].to_owned();
        text.replace_range(start..=middle + end, &words);
    }
    text
}

fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<String> = words
        .filter(|w| !w.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
## Guarantees

### C1. Same bits

<a id=\"a\"></a>First of a
paragraph. <a id=\"b\"></a>Second, see [the page](x.md).

- <a id=\"c\"></a>**an** `item`
  on two lines;
- no claim

| <a id=\"d\" class=\"gap\"></a>rows | none | |
| --- | --- | --- |

## Not guaranteed

- **`f64` for ever.** It uses
  other functions.
";

    #[test]
    fn claims_are_what_stands_behind_anchors() {
        let claims = read(PAGE).unwrap().claims;
        let seen: Vec<(&str, &str, &str, Standing)> = claims
            .iter()
            .map(|c| (&*c.id, &*c.contract, &*c.text, c.standing))
            .collect();
        assert_eq!(
            seen,
            [
                ("a", "C1", "First of a paragraph.", Standing::Guaranteed),
                ("b", "C1", "Second, see the page.", Standing::Guaranteed),
                ("c", "C1", "an item on two lines;", Standing::Guaranteed),
                ("d", "C1", "rows; none", Standing::Gap),
                (
                    "f64-for-ever",
                    "",
                    "f64 for ever. It uses other functions.",
                    Standing::NotGuaranteed
                ),
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_a_failure() {
        for (page, why) in [
            ("", "nothing is guaranteed"),
            (
                "### C1. x\n\n<a id=\"a\"></a>x\n\n<a id=\"a\"></a>y\n",
                "twice",
            ),
            ("### C1. x\n\n<a id=\"A b\"></a>x\n", "malformed"),
            (
                "### C1. x\n\n<a id=\"a\" class=\"hole\"></a>x\n",
                "malformed",
            ),
            ("<a id=\"a\"></a>x\n", "no contract"),
        ] {
            assert!(read(page).unwrap_err().contains(why), "{page}");
        }
    }
}

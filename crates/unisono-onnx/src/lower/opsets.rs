//! Which version of which operator set a graph or function means.

use crate::error::{OnnxError, OnnxErrorKind, quoted};
use crate::proto::OperatorSetId;
use std::collections::HashMap;
use std::ops::RangeInclusive;

/// The versions of ONNX's default operator set that can be read. 28 is that of ONNX 1.23.
pub const OPSETS: RangeInclusive<i64> = 7..=28;

/// The default domain has two spellings.
pub(super) fn domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// A domain for people.
pub(super) fn domain_name(domain: &str) -> &str {
    if domain.is_empty() { "ai.onnx" } else { domain }
}

/// The operator sets that a model or function imports.
#[derive(Debug, Default)]
pub(super) struct Imports<'p>(HashMap<&'p str, i64>);

impl<'p> Imports<'p> {
    pub(super) fn new(imports: &[OperatorSetId<'p>]) -> Result<Self, OnnxError> {
        let mut versions: HashMap<&str, i64> = HashMap::new();
        for (index, import) in imports.iter().enumerate() {
            let name = domain(import.domain);
            if let Some(other) = versions.insert(name, import.version)
                && other != import.version
            {
                return Err(OnnxError::new(
                    OnnxErrorKind::DuplicateName,
                    format!(
                        "the operator set {} is imported as version {other} and as version {}",
                        quoted(domain_name(name)),
                        import.version
                    ),
                )
                .help("export the model again; a model may import one version of each operator set")
                .within_item("opset_import", index));
            }
        }
        let imports = Self(versions);
        if imports.0.contains_key("") {
            imports.version("")?;
        }
        Ok(imports)
    }

    /// The version of a domain, or the error that it is not imported.
    pub(super) fn version(&self, domain: &str) -> Result<i64, OnnxError> {
        let unsupported = |what: String| OnnxError::new(OnnxErrorKind::UnsupportedOpset, what);
        let (oldest, newest) = (OPSETS.start(), OPSETS.end());
        let Some(&version) = self.0.get(domain) else {
            return Err(unsupported(format!(
                "the model does not say which version of the operator set {} it uses",
                quoted(domain_name(domain))
            ))
            .help("the file lacks an `opset_import` for this domain; export it again"));
        };
        if domain.is_empty() && version < *oldest {
            return Err(unsupported(format!(
                "the model uses opset {version} of ai.onnx; {oldest} to {newest} are supported"
            ))
            .help(format!(
                "convert it with `onnx.version_converter.convert_version(model, {})` or export it again",
                oldest.max(&13)
            )));
        }
        if domain.is_empty() && version > *newest {
            return Err(unsupported(format!(
                "the model uses opset {version} of ai.onnx; {oldest} to {newest} are supported"
            ))
            .help(format!(
                "export the model for opset {newest} or older, or use a newer Unisono"
            )));
        }
        Ok(version)
    }

    /// These imports, with those of `outer` for the domains that are missing.
    pub(super) fn or(mut self, outer: &Self) -> Self {
        for (domain, version) in &outer.0 {
            self.0.entry(domain).or_insert(*version);
        }
        self
    }

    /// The version of a domain, if it is imported.
    pub(super) fn get(&self, domain: &str) -> Option<i64> {
        self.0.get(domain).copied()
    }
}

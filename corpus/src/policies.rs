//! Policy documents, embedded under the name of their file.

/// One policy document of the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyDocument {
    /// Path below `corpus/policies` without `.json`: `published/vm_stop`, `starter`.
    pub name: &'static str,
    /// The bytes as published.
    pub text: &'static str,
}

/// The document called `name` (`starter`, `published/vm_stop`, `demo/in-force`).
pub fn policy(name: &str) -> Option<&'static PolicyDocument> {
    POLICIES.iter().find(|document| document.name == name)
}

/// Every policy document of the corpus.
pub fn policies() -> &'static [PolicyDocument] {
    POLICIES
}

macro_rules! documents {
    ($($name:literal),* $(,)?) => {
        &[$(PolicyDocument {
            name: $name,
            text: include_str!(concat!("../policies/", $name, ".json")),
        }),*]
    };
}

const POLICIES: &[PolicyDocument] = documents![
    "starter",
    // the catalogue's, one tool each: read
    "published/vm_list",
    "published/vm_status",
    "published/pool_list",
    "published/alert_list",
    // write: 30 a minute
    "published/dataset_create",
    "published/snapshot_create",
    "published/service_update",
    // execute: 10 a minute
    "published/vm_stop",
    "published/service_stop",
    "published/app_stop",
    "published/vm_restart",
    // destructive: hidden
    "published/vm_delete",
    "published/system_shutdown",
    "published/dataset_delete",
    "published/pool_export",
    // financial: a person decides
    "published/payment_create",
    // the demo's morning, and what it is replayed under
    "demo/in-force",
    "demo/published-stops",
    "demo/careful-stops",
];

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]

    use super::*;

    fn tools(name: &str) -> serde_json::Value {
        let document: serde_json::Value = serde_json::from_str(policy(name).unwrap().text).unwrap();
        document["tools"].clone()
    }

    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let mut found = 0;
        for folder in [root.clone(), root.join("published"), root.join("demo")] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let is_test = path.to_string_lossy().ends_with(".test.json");
                if path.extension().is_some_and(|e| e == "json") && !is_test {
                    let name = path.strip_prefix(&root).unwrap().with_extension("");
                    assert!(
                        policy(name.to_str().unwrap()).is_some(),
                        "{} is not embedded",
                        name.display()
                    );
                    found += 1;
                }
            }
        }
        assert_eq!(found, policies().len());
    }

    #[test]
    fn the_demo_candidate_carries_the_published_stop_rules_word_for_word() {
        let candidate = tools("demo/published-stops");
        for tool in ["vm_stop", "service_stop"] {
            assert_eq!(candidate[tool], tools(&format!("published/{tool}"))[tool]);
        }
    }
}

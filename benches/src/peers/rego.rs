//! `regorus`: one module, the tools as a set, the message as the input.

use regorus::{CompiledPolicy, Engine, Value};

use super::Peer;

/// A compiled Rego policy.
pub struct Rego {
    policy: CompiledPolicy,
}

impl Peer for Rego {
    const NAME: &'static str = "regorus";

    fn with_tools(tools: usize) -> Self {
        let names = (0..tools)
            .map(|n| format!("\"tool_{n}\""))
            .collect::<Vec<_>>()
            .join(",\n");
        let module = format!(
            "package weir\nimport rego.v1\ntools := {{{names}}}\ndefault allow := false\n\
             allow if {{\n  input.params.name in tools\n  is_number(input.params.arguments.id)\n  \
             not input.params.arguments.force == true\n}}\n"
        );
        let mut engine = Engine::new();
        engine
            .add_policy("weir.rego".to_owned(), module)
            .expect("the module above is Rego");
        let policy = engine
            .compile_with_entrypoint(&"data.weir.allow".into())
            .expect("the rule is there");
        Self { policy }
    }

    fn allows(&mut self, message: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(message) else {
            return false;
        };
        let Ok(input) = Value::from_json_str(text) else {
            return false;
        };
        matches!(self.policy.eval_with_input(input), Ok(Value::Bool(true)))
    }
}

//! `cel`: one program a tool, found by a hash map as a host would do it.

use std::collections::HashMap;

use cel::{Context, Program, Value};

use super::Peer;

/// CEL programs by tool.
pub struct CommonExpression {
    programs: HashMap<String, Program>,
    functions: Context<'static, 'static>,
}

impl Peer for CommonExpression {
    const NAME: &'static str = "cel";

    fn with_tools(tools: usize) -> Self {
        let programs = (0..tools)
            .map(|n| {
                // serde hands a JSON integer that is not negative over as a uint
                let program =
                    Program::compile("args.id >= 0u && !(has(args.force) && args.force == true)")
                        .expect("the expression above is CEL");
                (format!("tool_{n}"), program)
            })
            .collect();
        Self {
            programs,
            functions: Context::default(),
        }
    }

    fn allows(&mut self, message: &[u8]) -> bool {
        let Ok(message) = serde_json::from_slice::<serde_json::Value>(message) else {
            return false;
        };
        let Some(tool) = message
            .pointer("/params/name")
            .and_then(|name| name.as_str())
        else {
            return false;
        };
        let Some(program) = self.programs.get(tool) else {
            return false;
        };
        let Some(arguments) = message.pointer("/params/arguments") else {
            return false;
        };
        let mut context = self.functions.new_inner_scope();
        if context.add_variable("args", arguments).is_err() {
            return false;
        }
        matches!(program.execute(&context), Ok(Value::Bool(true)))
    }
}

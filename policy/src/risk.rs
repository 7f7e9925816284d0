//! The class of a tool that no profile knows, guessed from its name.

use crate::Risk;

impl Risk {
    /// All classes, the mildest first.
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Write,
        Self::Execute,
        Self::Destructive,
        Self::Financial,
    ];

    /// The class that the words of `name` suggest. Where words of several classes stand in it, the
    /// gravest wins: financial, destructive, execute, write, read. A name without a known word is
    /// a write: not known to be harmless.
    pub fn of_name(name: &str) -> Self {
        let mut gravest = None;
        let mut word = Word::default();
        let mut after_lower = false;
        for byte in name.bytes() {
            if !byte.is_ascii_alphanumeric() || (after_lower && byte.is_ascii_uppercase()) {
                gravest = gravest.max(word.class());
                word = Word::default();
            }
            if byte.is_ascii_alphanumeric() {
                word.push(byte.to_ascii_lowercase());
            }
            after_lower = byte.is_ascii_lowercase();
        }
        gravest.max(word.class()).unwrap_or(Self::Write)
    }
}

/// One lower-case word of a name; a word longer than any known one is none of them.
#[derive(Default)]
struct Word {
    letters: [u8; 12],
    len: usize,
}

impl Word {
    fn push(&mut self, letter: u8) {
        if let Some(place) = self.letters.get_mut(self.len) {
            *place = letter;
        }
        self.len += 1;
    }

    fn class(&self) -> Option<Risk> {
        match self.letters.get(..self.len)? {
            b"pay" | b"payment" | b"payout" | b"refund" | b"charge" | b"invoice" | b"purchase"
            | b"buy" | b"sell" | b"trade" | b"withdraw" | b"transfer" | b"checkout" => {
                Some(Risk::Financial)
            }
            b"delete" | b"del" | b"rm" | b"remove" | b"destroy" | b"drop" | b"truncate"
            | b"purge" | b"wipe" | b"erase" | b"format" | b"shutdown" | b"poweroff" | b"halt"
            | b"export" | b"detach" | b"rollback" | b"revert" | b"reset" | b"revoke"
            | b"uninstall" | b"terminate" | b"kill" => Some(Risk::Destructive),
            b"start" | b"stop" | b"restart" | b"reboot" | b"run" | b"exec" | b"execute"
            | b"eval" | b"invoke" | b"call" | b"send" | b"trigger" | b"deploy" | b"redeploy"
            | b"upgrade" | b"apply" | b"commit" | b"cancel" | b"abort" | b"pause" | b"resume"
            | b"suspend" | b"scrub" | b"shell" | b"command" | b"sync" | b"publish" | b"merge" => {
                Some(Risk::Execute)
            }
            b"create" | b"update" | b"set" | b"add" | b"put" | b"write" | b"edit" | b"modify"
            | b"patch" | b"insert" | b"upload" | b"move" | b"rename" | b"copy" | b"clone"
            | b"enable" | b"disable" | b"lock" | b"unlock" | b"import" | b"save" | b"attach"
            | b"assign" | b"upsert" => Some(Risk::Write),
            b"list" | b"get" | b"read" | b"show" | b"status" | b"info" | b"config"
            | b"describe" | b"search" | b"find" | b"query" | b"fetch" | b"count" | b"check"
            | b"view" | b"stat" | b"lookup" | b"summary" | b"version" | b"help" | b"inspect"
            | b"echo" => Some(Risk::Read),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_word_of_a_name_decides() {
        for (name, class) in [
            ("vm_list", Risk::Read),
            ("vm_delete", Risk::Destructive),
            ("listAndDelete", Risk::Destructive),
            ("vm_stop", Risk::Execute),
            ("get_or_create", Risk::Write),
            ("refund_list", Risk::Financial),
            ("restart-service", Risk::Execute),
            ("frobnicate", Risk::Write),
            ("", Risk::Write),
            ("undeletable_characteristics", Risk::Write),
        ] {
            assert_eq!(Risk::of_name(name), class, "{name}");
        }
    }
}

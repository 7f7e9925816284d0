//! `weir verify --record s3://…`: a record's copy, checked where it is.

use std::process::ExitCode;

use anyhow::anyhow;
use weir_object_storage::{Bucket, Verified, public_key, runtime, verify, verify_as_of};
use weir_recorder::VerifyingKey;

use super::{Format, Verify, key, with_bar};
use crate::failure::Fix as _;
use crate::terminal;

impl Verify {
    /// Verifies the copy at this address.
    pub(super) fn run_on_copy(&self, url: &str) -> anyhow::Result<ExitCode> {
        if self.call.is_some() {
            return Err(anyhow!(
                "a proof is made of a record in a folder, not of `{url}`"
            ));
        }
        let bucket = self.reach.bucket(url)?;
        let keys = (self.keys_of_copy(&bucket)?, self.record_keys.of_copy()?);
        let anchor = self.anchor()?;
        let verified = with_bar(|progress| {
            let options = self.options(keys, &anchor, progress);
            let runtime = runtime()?;
            Ok(match self.list {
                Some(list) => verify_as_of(&bucket, &runtime, options, list)?,
                None => verify(&bucket, &runtime, options)?,
            })
        })?;
        let Verified {
            verification,
            list,
            unsealed,
            beyond,
        } = verified;
        match self.format {
            Format::Text => {
                let unsealed = (unsealed > 0).then(|| {
                    format!("  {unsealed} entries were not sealed yet; they are proved by their leaves alone\n")
                });
                let beyond = beyond.map(|beyond| {
                    format!("  the bucket has a checkpoint of {beyond} entries: the copy is on its way there, or its end was taken away\n")
                });
                let text = format!(
                    "{verification}\n  list {list} of the copy's files\n{}{}",
                    unsealed.unwrap_or_default(),
                    beyond.unwrap_or_default()
                );
                terminal::print(&text)?;
            }
            Format::Json => {
                let mut json = serde_json::to_value(&verification)?;
                let copy =
                    serde_json::json!({ "list": list, "unsealed": unsealed, "beyond": beyond });
                if let Some(members) = json.as_object_mut() {
                    members.insert("copy".into(), copy);
                }
                terminal::print(&(serde_json::to_string_pretty(&json)? + "\n"))?;
            }
        }
        Ok(ExitCode::from(verification.state.exit_code()))
    }

    /// The keys given, or the one that the copy began with.
    fn keys_of_copy(&self, bucket: &Bucket) -> anyhow::Result<Vec<VerifyingKey>> {
        if !self.key.is_empty() {
            return self.key.iter().map(|path| key(path)).collect();
        }
        let found = public_key(bucket, &runtime()?)?
            .ok_or_else(|| anyhow!("`{}` has no public key", bucket.place()))
            .fix(|| {
                "give the address that the record was shipped to, or the public key with --key FILE"
                    .into()
            })?;
        terminal::note(
            "believing the public key that lies in the bucket, as anybody who can write there may have put it: --key FILE gives your own\n",
        );
        Ok(vec![found])
    }
}

//! Which columns of a sealed file are encrypted, and what it takes to read them: Parquet modular encryption with a plaintext footer,
//! so that every other column is read by anybody.
//!
//! Each file has a data key, which signs the footer too. What else repeats these columns inside of the file (their pages, indexes and
//! metadata) is encrypted with them. Parquet binds each piece to its file, row group, column and page, so that none takes the
//! place of another.

use std::path::Path;

use parquet::file::metadata::ParquetMetaData;

use crate::{KeyFault, RecordError, RecordKeys};

/// Leaf columns of `calls` that hold what calls carry, or from which it could be guessed: the digests, with the digest key at hand,
/// and the keys of counters, which hold values that a policy counts by.
pub(crate) const ENCRYPTED: [&str; 6] = [
    "arguments",
    "effective_arguments",
    "arguments_digest",
    "limit_counts.list.item.counter",
    "result_digest",
    "result",
];

/// A column that takes a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedColumn {
    /// The column of the table, of which it is all or a part.
    pub name: String,
    /// What is missing.
    pub fault: KeyFault,
}

#[cfg(feature = "encryption")]
pub(crate) use with::{closed, encrypt};
#[cfg(not(feature = "encryption"))]
pub(crate) use without::{closed, encrypt};

#[cfg(feature = "encryption")]
use with::{Decryption, decryption};
#[cfg(not(feature = "encryption"))]
use without::{Decryption, decryption};

impl RecordKeys {
    /// What decrypts the columns that are wanted of a file with this footer, none if none of them is encrypted: for those who
    /// read sealed files by themselves. An error if the keys do not open one of them.
    pub fn open(
        &self,
        path: &Path,
        footer: &ParquetMetaData,
        wanted: &[&str],
    ) -> Result<Decryption, RecordError> {
        let mut closed = closed(footer, self).into_iter();
        match closed.find(|closed| wanted.contains(&closed.name.as_str())) {
            None => decryption(footer, self, wanted),
            Some(ClosedColumn { name, fault }) => Err(RecordError::Encrypted {
                path: path.to_owned(),
                column: name,
                fault,
            }),
        }
    }
}

#[cfg(feature = "encryption")]
mod with {
    use std::sync::Arc;

    use parquet::encryption::decrypt::FileDecryptionProperties;
    use parquet::encryption::encrypt::FileEncryptionProperties;
    use parquet::file::column_crypto_metadata::{ColumnCryptoMetaData, EncryptionWithColumnKey};
    use parquet::file::properties::WriterPropertiesBuilder;

    use super::{ClosedColumn, ENCRYPTED, KeyFault, ParquetMetaData};
    use super::{RecordError, RecordKeys};
    use crate::keys::material::DataKey;
    use crate::layout::Table;

    /// What the Parquet reader decrypts with.
    pub(crate) type Decryption = Option<Arc<FileDecryptionProperties>>;

    /// Encrypts the columns of a file that is to be written, if there is a key for it.
    pub(crate) fn encrypt(
        builder: WriterPropertiesBuilder,
        table: Table,
        keys: &RecordKeys,
    ) -> Result<WriterPropertiesBuilder, RecordError> {
        let Some(by) = keys.active().filter(|_| table == Table::Calls) else {
            return Ok(builder);
        };
        let data = DataKey::draw(by)?;
        let mut encryption = FileEncryptionProperties::builder(data.secret().to_vec())
            .with_footer_key_metadata(data.footer_material()?)
            .with_plaintext_footer(true);
        for column in ENCRYPTED {
            let (secret, material) = (data.secret().to_vec(), data.material()?);
            encryption = encryption.with_column_key_and_metadata(column, secret, material);
        }
        Ok(builder.with_file_encryption_properties(encryption.build()?))
    }

    /// The columns of a file that these keys do not open.
    pub(crate) fn closed(metadata: &ParquetMetaData, keys: &RecordKeys) -> Vec<ClosedColumn> {
        let mut last: Option<(&[u8], Option<KeyFault>)> = None;
        let mut closed = Vec::new();
        for column in encrypted(metadata) {
            let fault = match &last {
                Some((same, fault)) if *same == material(column) => fault.clone(),
                _ => DataKey::unwrap(material(column), keys).err(),
            };
            last = Some((material(column), fault.clone()));
            let name = root(column).to_owned();
            closed.extend(fault.map(|fault| ClosedColumn { name, fault }));
        }
        closed
    }

    /// What decrypts these columns of a file, none of which is closed; none if they are not encrypted.
    pub(super) fn decryption(
        metadata: &ParquetMetaData,
        keys: &RecordKeys,
        wanted: &[&str],
    ) -> Result<Decryption, RecordError> {
        let is_wanted = |column: &&EncryptionWithColumnKey| wanted.contains(&root(column));
        let Some(first) = encrypted(metadata).find(is_wanted) else {
            return Ok(None);
        };
        let secret = |column: &EncryptionWithColumnKey| {
            let data = DataKey::unwrap(material(column), keys);
            data.map(|data| data.secret().to_vec()).ok()
        };
        let footer = secret(first).unwrap_or_default();
        let mut decryption = FileDecryptionProperties::builder(footer);
        for column in encrypted(metadata) {
            // What is closed is not read.
            if let Some(secret) = secret(column) {
                decryption = decryption.with_column_key(&column.path_in_schema.join("."), secret);
            }
        }
        Ok(Some(decryption.build()?))
    }

    fn root(column: &EncryptionWithColumnKey) -> &str {
        column.path_in_schema.first().map_or("", String::as_str)
    }

    fn material(column: &EncryptionWithColumnKey) -> &[u8] {
        column.key_metadata.as_deref().unwrap_or_default()
    }

    /// What is encrypted in a file: row groups have the same columns.
    fn encrypted(metadata: &ParquetMetaData) -> impl Iterator<Item = &EncryptionWithColumnKey> {
        let columns = metadata
            .row_groups()
            .first()
            .map(parquet::file::metadata::RowGroupMetaData::columns);
        let columns = columns.unwrap_or_default().iter();
        columns.filter_map(|column| match column.crypto_metadata() {
            Some(ColumnCryptoMetaData::ENCRYPTION_WITH_COLUMN_KEY(column)) => Some(column),
            Some(ColumnCryptoMetaData::ENCRYPTION_WITH_FOOTER_KEY) | None => None,
        })
    }
}

#[cfg(not(feature = "encryption"))]
mod without {
    use parquet::file::properties::WriterPropertiesBuilder;

    use super::{ClosedColumn, ENCRYPTED, KeyFault, ParquetMetaData};
    use super::{RecordError, RecordKeys};
    use crate::layout::Table;
    use crate::segments::properties::RECORD_KEY;

    /// Nothing is decrypted.
    pub(crate) type Decryption = ();

    /// No column is encrypted that is wanted.
    #[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
    pub(super) fn decryption(
        _: &ParquetMetaData,
        _: &RecordKeys,
        _: &[&str],
    ) -> Result<Decryption, RecordError> {
        Ok(())
    }

    /// Nothing is encrypted, and nothing that should be is written as if it were.
    pub(crate) fn encrypt(
        builder: WriterPropertiesBuilder,
        _: Table,
        keys: &RecordKeys,
    ) -> Result<WriterPropertiesBuilder, RecordError> {
        if keys.active().is_some() {
            return Err(RecordError::NotBuilt);
        }
        Ok(builder)
    }

    /// The columns of a file that a build with the feature encrypted.
    pub(crate) fn closed(metadata: &ParquetMetaData, _: &RecordKeys) -> Vec<ClosedColumn> {
        let pairs = metadata.file_metadata().key_value_metadata();
        let is_encrypted = pairs.is_some_and(|pairs| pairs.iter().any(|p| p.key == RECORD_KEY));
        let names = ENCRYPTED.iter().filter(|_| is_encrypted);
        let name = |path: &&str| path.split('.').next().unwrap_or(path).to_owned();
        let closed = |path| ClosedColumn {
            name: name(path),
            fault: KeyFault::NotBuilt,
        };
        names.map(closed).collect()
    }
}

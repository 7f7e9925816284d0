//! The words that a statement may be made of, for whoever completes them.

use arrow::array::AsArray as _;

use super::{QueryError, SessionContext, answer, named_all};

/// What can be asked about in a session: tables with their columns, functions, and the questions that have names.
#[derive(Debug, Clone, Default)]
pub struct Words {
    /// Every table and view with its columns, by name.
    pub tables: Vec<(String, Vec<String>)>,
    /// Every function, table functions too, by name.
    pub functions: Vec<String>,
    /// Every named question with the names of its parameters.
    pub questions: Vec<(&'static str, Vec<&'static str>)>,
}

const COLUMNS: &str = "SELECT table_name, column_name FROM information_schema.columns \
    WHERE table_schema = 'record' ORDER BY table_name, ordinal_position";

/// The words of a session. Its tables and functions do not change, so it is enough to ask once.
pub async fn words(context: &SessionContext) -> Result<Words, QueryError> {
    let mut tables: Vec<(String, Vec<String>)> = Vec::new();
    for batch in answer(context, COLUMNS).await?.batches() {
        let names = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8);
        let columns = arrow::compute::cast(batch.column(1), &arrow::datatypes::DataType::Utf8);
        let wrong = |error: arrow::error::ArrowError| QueryError::Sql(error.to_string());
        let (names, columns) = (names.map_err(wrong)?, columns.map_err(wrong)?);
        let (names, columns) = (names.as_string::<i32>(), columns.as_string::<i32>());
        for (table, column) in names.iter().flatten().zip(columns.iter().flatten()) {
            match tables.last_mut().filter(|(last, _)| last == table) {
                Some((_, known)) => known.push(column.to_owned()),
                None => tables.push((table.to_owned(), vec![column.to_owned()])),
            }
        }
    }
    let state = context.state();
    let mut functions: Vec<String> = (state.scalar_functions().keys())
        .chain(state.aggregate_functions().keys())
        .chain(state.window_functions().keys())
        .chain(state.table_functions().keys())
        .cloned()
        .collect();
    functions.sort_unstable();
    functions.dedup();
    let questions = named_all().iter().map(|question| {
        let parameters = question.parameters.iter().map(|parameter| parameter.name);
        (question.name, parameters.collect())
    });
    Ok(Words {
        tables,
        functions,
        questions: questions.collect(),
    })
}

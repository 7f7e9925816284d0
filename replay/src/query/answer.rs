//! The answer to a question: as a table for people, as JSON or CSV for machines.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::cell;
use crate::measure::{left, right, width};
use crate::shown;

/// The least width a column of a table is cut down to.
const COLUMN_WIDTH_MIN: usize = 6;

/// The rows that answer a question.
#[derive(Debug, Clone)]
pub struct Answer {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Answer {
    pub(super) fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }

    /// The rows, as Arrow has them.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// A table at most `columns` wide: the widest columns are cut, with `…` where something is
    /// missing. Control, invisible and reordering characters are written out.
    pub fn table(&self, columns: usize) -> String {
        let names: Vec<String> = self.names().map(|name| shown(name).into_owned()).collect();
        let cells: Vec<Vec<String>> = self.texts(|text| shown(&text).into_owned(), "").collect();
        let mut widths: Vec<usize> = names.iter().map(|name| width(name)).collect();
        for row in &cells {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(width(cell));
            }
        }
        fit(&mut widths, columns);
        let numbers: Vec<bool> = self
            .schema
            .fields()
            .iter()
            .map(|field| cell::is_number(field.data_type()))
            .collect();
        let mut page = String::new();
        push_row(&names, &widths, &numbers, &mut page);
        let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        push_row(&rules, &widths, &numbers, &mut page);
        for row in &cells {
            push_row(row, &widths, &numbers, &mut page);
        }
        match self.rows() {
            0 => page.push_str("no rows\n"),
            1 => page.push_str("1 row\n"),
            rows => page.push_str(&[&rows.to_string(), " rows\n"].concat()),
        }
        page
    }

    /// One JSON array with one object a row, each on a line of its own: a document for `jq`, and
    /// easy to read by line. Times are RFC 3339 strings, bytes are hex, `call_id` is a UUID; whole
    /// numbers keep every digit.
    pub fn json(&self) -> String {
        let mut json = String::from("[");
        let mut first = true;
        for batch in &self.batches {
            for row in 0..batch.num_rows() {
                json.push_str(if first { "\n{" } else { ",\n{" });
                first = false;
                for (place, (name, column)) in self.names().zip(batch.columns()).enumerate() {
                    if place > 0 {
                        json.push(',');
                    }
                    cell::push_string(name, &mut json);
                    json.push(':');
                    cell::write_json(name, column.as_ref(), row, &mut json);
                }
                json.push('}');
            }
        }
        json.push_str(if first { "]\n" } else { "\n]\n" });
        json
    }

    /// CSV as RFC 4180 has it, with a header and CRLF. Control and invisible characters are written
    /// out, and a text that a spreadsheet would run as a formula gets a `'` in front.
    pub fn csv(&self) -> String {
        let mut csv = String::new();
        let names: Vec<String> = self.names().map(field).collect();
        push_line(&names, &mut csv);
        let numbers: Vec<bool> = self
            .schema
            .fields()
            .iter()
            .map(|field| cell::is_number(field.data_type()))
            .collect();
        for row in self.texts(|text| text, "") {
            let fields: Vec<String> = row
                .iter()
                .zip(&numbers)
                .map(|(text, number)| if *number { text.clone() } else { field(text) })
                .collect();
            push_line(&fields, &mut csv);
        }
        csv
    }

    /// A table of Markdown. Hidden characters are written out, and what Markdown would read is escaped.
    pub fn markdown(&self) -> String {
        let names: Vec<String> = self.names().map(marked).collect();
        let rules = self.schema.fields().iter().map(|field| {
            if cell::is_number(field.data_type()) {
                "---:".to_owned()
            } else {
                "---".to_owned()
            }
        });
        let mut page = String::new();
        push_cells(&names, &mut page);
        push_cells(&rules.collect::<Vec<_>>(), &mut page);
        for row in self.texts(|text| marked(&text), "") {
            push_cells(&row, &mut page);
        }
        page
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
    }

    fn texts(
        &self,
        each: fn(String) -> String,
        null: &'static str,
    ) -> impl Iterator<Item = Vec<String>> {
        self.batches.iter().flat_map(move |batch| {
            (0..batch.num_rows()).map(move |row| {
                self.names()
                    .zip(batch.columns())
                    .map(|(name, column)| {
                        cell::text(name, column.as_ref(), row).map_or_else(|| null.to_owned(), each)
                    })
                    .collect()
            })
        })
    }
}

/// Takes from the widest columns until the table fits, or nothing more can be taken.
fn fit(widths: &mut [usize], columns: usize) {
    let gaps = 2 * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > columns {
        match widths.iter_mut().max() {
            Some(widest) if *widest > COLUMN_WIDTH_MIN => *widest -= 1,
            _ => return,
        }
    }
}

fn push_row(cells: &[String], widths: &[usize], numbers: &[bool], page: &mut String) {
    let mut line = String::new();
    for ((cell, width), number) in cells.iter().zip(widths).zip(numbers) {
        if !line.is_empty() {
            line.push_str("  ");
        }
        line.push_str(&if *number {
            right(cell, *width)
        } else {
            left(cell, *width)
        });
    }
    page.push_str(line.trim_end());
    page.push('\n');
}

fn push_line(fields: &[String], csv: &mut String) {
    csv.push_str(&fields.join(","));
    csv.push_str("\r\n");
}

fn push_cells(cells: &[String], page: &mut String) {
    page.push_str("| ");
    page.push_str(&cells.join(" | "));
    page.push_str(" |\n");
}

/// Text that Markdown shows as it stands.
fn marked(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in shown(text).chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '~' | '!' | '#' => {
                safe.push('\\');
                safe.push(c);
            }
            c => safe.push(c),
        }
    }
    safe
}

fn field(text: &str) -> String {
    let mut safe = shown(text).into_owned();
    if safe.starts_with(['=', '+', '-', '@']) {
        safe.insert(0, '\'');
    }
    if safe.contains(['"', ',']) {
        format!("\"{}\"", safe.replace('"', "\"\""))
    } else {
        safe
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use arrow::array::{ArrayRef, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray};

    use super::Answer;

    fn answer(text: &[&str]) -> Answer {
        let ids = text.iter().map(|_| Some([7_u8; 16]));
        let ids = FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, 16).unwrap();
        let batch = RecordBatch::try_from_iter([
            ("call_id", Arc::new(ids) as ArrayRef),
            ("text", Arc::new(StringArray::from(text.to_vec()))),
            (
                "n",
                Arc::new(Int64Array::from_iter_values(
                    text.iter().map(|_| 9_007_199_254_740_993),
                )),
            ),
        ])
        .unwrap();
        Answer::new(batch.schema(), vec![batch])
    }

    #[test]
    fn a_table_fits_the_terminal_and_shows_what_is_hidden() {
        let table = answer(&["\u{1b}[31mred", &"x".repeat(200)]).table(60);
        assert!(table.contains("\\u{1b}[31mred"), "{table}");
        assert!(
            table.lines().all(|line| line.chars().count() <= 60),
            "{table}"
        );
        assert!(table.ends_with("2 rows\n"));
    }

    #[test]
    fn json_is_one_document_and_keeps_every_digit() {
        let json = answer(&["a\"b"]).json();
        assert_eq!(
            json,
            "[\n{\"call_id\":\"07070707-0707-0707-0707-070707070707\",\"text\":\"a\\\"b\",\"n\":9007199254740993}\n]\n"
        );
        assert_eq!(answer(&[]).json(), "[]\n");
    }

    #[test]
    fn markdown_is_shown_and_not_read() {
        let page = answer(&["a|b", "<img src=x>", "![x](http://y)", "vm_stop"]).markdown();
        let lines: Vec<&str> = page.lines().collect();
        assert_eq!(lines.first(), Some(&"| call\\_id | text | n |"));
        assert_eq!(lines.get(1), Some(&"| --- | --- | ---: |"));
        assert!(
            page.contains(r"| a\|b |") && page.contains("| &lt;img src=x> |"),
            "{page}"
        );
        assert!(page.contains(r"| \!\[x\](http://y) |"), "{page}");
    }

    #[test]
    fn csv_quotes_and_defuses_formulas() {
        let csv = answer(&["=1+1", "a,\"b\"", "line\nfeed"]).csv();
        let lines: Vec<&str> = csv.split("\r\n").collect();
        assert_eq!(lines.first(), Some(&"call_id,text,n"));
        assert!(csv.contains(",'=1+1,"));
        assert!(csv.contains(",\"a,\"\"b\"\"\","));
        assert!(csv.contains(",line\\nfeed,"));
    }
}

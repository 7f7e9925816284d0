# The house's commands. `just` lists them.

default:
    @just --list

# the crates without DataFusion: the everyday loop
loop:
    cargo test --release -p weir-policy -p weir-recorder -p weir-proxy -p weir-corpus

# everything CI runs
ci:
    bash .ci/run

# the README's test command
test:
    cargo test --release --workspace

# the whole loop on the embedded NAS
demo:
    cargo run --release -- demo

lint:
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets -- -D warnings

# figures; ratios within one run are what counts
bench NAME *ARGS:
    cargo bench --workspace --bench {{NAME}} -- {{ARGS}}

# the record read by Spark, which needs a Java runtime
spark:
    WEIR_BIN=target/release/weir bash e2e/run check_readers
    target/e2e/venv/bin/pip install -q pyspark
    WEIR_BIN=target/release/weir target/e2e/venv/bin/python e2e/check_readers.py spark

# the recorder at full rate on a disk that is full twice, ten minutes unless told otherwise; needs root for the mount
soak *ARGS:
    bash e2e/soak {{ARGS}}

# streams, calls and clients that behave badly for ten minutes: `just soak-streams --seconds 60 --streams 300` for a try
soak-streams *ARGS:
    WEIR_BIN=target/release/weir bash e2e/run soak_streams -- {{ARGS}}

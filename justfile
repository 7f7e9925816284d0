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

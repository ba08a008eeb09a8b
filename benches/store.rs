//! (being built)

fn main() {
    divan::main();
}

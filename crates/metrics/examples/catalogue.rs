//! Prints the catalogue as the page in docs/ has it; `cargo xtask codegen` writes it there.

fn main() {
    print!("{}", windlass_metrics::Catalogue::builtin().page());
}

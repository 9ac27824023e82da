//! The `tidewater` command.

/// The engine allocates and frees small things all the time, where the system's allocator is a good deal slower.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    tidewater_server::main()
}

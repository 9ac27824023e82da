//! Touches a gigabyte in huge pages and ends: several times what CDP-1 takes, so that the next program finds memory that
//! was in use just before.

use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    // Piece by piece, as the allocator has huge pages behind what is smaller than one.
    let pieces: Vec<Vec<u8>> = (0..1024).map(|_| black_box(vec![1; 1 << 20])).collect();
    black_box(pieces);
}

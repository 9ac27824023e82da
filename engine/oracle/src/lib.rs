//! tidewater-oracle

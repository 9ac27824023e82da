//! tidewater-storage

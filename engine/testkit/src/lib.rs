//! tidewater-testkit

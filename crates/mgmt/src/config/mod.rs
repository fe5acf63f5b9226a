//! Native configuration files.

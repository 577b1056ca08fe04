//! What holds for the workspace as a whole, and for the chores themselves.

#![forbid(unsafe_code)]

mod architecture;
mod command_line;
mod dependencies;
mod documents;
mod fuzz;
mod soft_roce;
mod workspace;

//! The world around the server: virtual time, a network of inboxes, phones that say what a test tells them to.

mod dialog;
mod draft;
mod got;
mod phone;
mod random;
mod world;

pub use dialog::{Dialog, address};
pub use draft::Draft;
pub use got::Got;
pub use phone::{PASSWORD, Phone};
pub use random::Random;
pub use world::{Sim, domain};

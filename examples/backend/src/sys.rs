//! What would be the NIC's driver: the device, its doorbell, and its way into registered memory. All that is `unsafe`
//! stands here.

mod device;
mod registration;
mod waker;

pub(crate) use device::{Delivery, Device, Done, Lane, MAX_LINKS, Work};
pub(crate) use registration::Registration;
pub(crate) use waker::Waker;

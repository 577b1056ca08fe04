//! The rival of every write and read between processes without a NIC: one blocking TCP connection, blocks gathered by one
//! system call for up to 1024 of them (`writev`), and received into their places likewise (`readv`).

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    net::TcpStream,
    slice,
};

/// Most pieces that one system call takes on Linux (`IOV_MAX`, limits.h).
const PIECES: usize = 1024;

/// Sends the blocks `ids` of a pool that begins at `base`, in this order; blocks lie `block_bytes` apart.
///
/// # Errors
/// Whatever the connection says; one that takes nothing more is `WriteZero`.
///
/// # Safety
/// `block_bytes` bytes at `base + id * block_bytes` are readable for each id, and nobody writes them until the return.
pub unsafe fn send(mut stream: &TcpStream, base: *const u8, block_bytes: usize, ids: &[u32]) -> io::Result<()> {
    for ids in ids.chunks(PIECES) {
        let piece = |&id: &u32| {
            // SAFETY: the caller's word, block by block.
            IoSlice::new(unsafe { slice::from_raw_parts(base.add(id as usize * block_bytes), block_bytes) })
        };
        let mut pieces: Vec<IoSlice<'_>> = ids.iter().map(piece).collect();
        let mut left = &mut pieces[..];
        while !left.is_empty() {
            match stream.write_vectored(left)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                sent => IoSlice::advance_slices(&mut left, sent),
            }
        }
    }
    Ok(())
}

/// Receives blocks into the places `ids` of a pool that begins at `base`, in this order; blocks lie `block_bytes` apart.
///
/// # Errors
/// Whatever the connection says; one that has ended is `UnexpectedEof`.
///
/// # Safety
/// `block_bytes` bytes at `base + id * block_bytes` are writable for each id, nobody else reads or writes them until the
/// return, and no id is there twice.
pub unsafe fn receive(mut stream: &TcpStream, base: *mut u8, block_bytes: usize, ids: &[u32]) -> io::Result<()> {
    for ids in ids.chunks(PIECES) {
        let piece = |&id: &u32| {
            // SAFETY: the caller's word, block by block; no two are the same, so no two overlap.
            IoSliceMut::new(unsafe { slice::from_raw_parts_mut(base.add(id as usize * block_bytes), block_bytes) })
        };
        let mut pieces: Vec<IoSliceMut<'_>> = ids.iter().map(piece).collect();
        let mut left = &mut pieces[..];
        while !left.is_empty() {
            match stream.read_vectored(left)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                got => IoSliceMut::advance_slices(&mut left, got),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    #[test]
    fn blocks_land_where_the_lists_say() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        // More than one call's pieces, and more bytes than a socket holds at once.
        let (blocks, block_bytes) = (3000_u32, 4000_usize);
        let byte = |at: usize| u8::try_from((at / block_bytes + at) % 251).unwrap();
        let from: Vec<u8> = (0..blocks as usize * block_bytes).map(byte).collect();
        let here: Vec<u32> = (0..blocks).collect();
        let there: Vec<u32> = (0..blocks).rev().collect();
        let mut to = vec![0; from.len()];
        thread::scope(|scope| {
            // SAFETY: all blocks of a vector that nobody writes.
            scope.spawn(|| unsafe { send(&sender, from.as_ptr(), block_bytes, &here) }.unwrap());
            // SAFETY: each block of a vector once, which nobody else has.
            unsafe { receive(&receiver, to.as_mut_ptr(), block_bytes, &there) }.unwrap();
        });
        for (from, to) in from.chunks(block_bytes).zip(to.rchunks(block_bytes)) {
            assert!(from == to);
        }
        drop(sender);
        // SAFETY: as above.
        let ended = unsafe { receive(&receiver, to.as_mut_ptr(), block_bytes, &[1]) }.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
    }
}

//! `sys/abi.rs` against the real headers: a C program, compiled here, prints what it sees of every struct and number.

use std::{
    fmt::Write,
    mem::offset_of,
    path::Path,
    process::{Command, ExitCode},
};

use libtest_mimic::{Arguments, Trial};
use pegaflow_rdma::testing::abi::{self, *};

const HEADER: &str = "/usr/include/infiniband/verbs.h";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trial = Trial::test("structs_and_numbers_are_the_headers", || compare().map_err(Into::into));
    let trial = match absent() {
        Some(why) => trial.with_kind(why).with_ignored_flag(true),
        None => trial,
    };
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

/// Why it can't be compared here.
fn absent() -> Option<String> {
    if !Path::new(HEADER).is_file() {
        return Some(format!("{HEADER} is not here: install libibverbs-dev"));
    }
    let compiler = Command::new("cc").arg("--version").output();
    (!compiler.is_ok_and(|output| output.status.success())).then(|| "no C compiler (cc)".to_owned())
}

/// Sizes of the structs that this crate makes.
macro_rules! sizes {
    ($($name:ident),* $(,)?) => { vec![$((format!("sizeof(struct {})", stringify!($name)), size_of::<$name>())),*] };
}

/// Offsets of fields: Rust's path, and the header's where it differs.
macro_rules! offsets {
    ($($name:ident { $($field:ident $(= $c:literal)?),* $(,)? })*) => {
        vec![$($((
            format!("offsetof(struct {}, {})", stringify!($name), offsets!(@c $field $($c)?)),
            offset_of!($name, $field),
        )),*),*]
    };
    (@c $field:ident $c:literal) => { $c };
    (@c $field:ident) => { stringify!($field) };
}

fn expectations() -> Vec<(String, usize)> {
    let mut all = sizes![
        ibv_gid_entry,
        ibv_device_attr,
        ibv_port_attr,
        ibv_qp_cap,
        ibv_qp_init_attr,
        ibv_global_route,
        ibv_ah_attr,
        ibv_qp_attr,
        ibv_sge,
        ibv_send_wr,
        ibv_recv_wr,
        ibv_wc,
        ibv_async_event,
        ibv_context_ops,
    ];
    all.push(("sizeof(union ibv_gid)".to_owned(), size_of::<ibv_gid>()));
    all.extend(offsets! {
        ibv_context { device, ops, cmd_fd, async_fd, num_comp_vectors }
        ibv_context_ops { poll_cq, req_notify_cq, post_send, post_recv }
        ibv_pd { context, handle }
        ibv_mr { context, pd, addr, length, handle, lkey, rkey }
        ibv_comp_channel { context, fd, refcnt }
        ibv_cq { context, channel, cq_context, handle, cqe }
        ibv_qp { context, qp_context, pd, send_cq, recv_cq, srq, handle, qp_num, state, qp_type }
        ibv_gid_entry { gid, gid_index, port_num, gid_type, ndev_ifindex }
        ibv_device_attr {
            max_mr_size, max_qp, max_qp_wr, max_cqe, max_qp_rd_atom, max_qp_init_rd_atom, atomic_cap, max_srq_sge,
            max_pkeys, local_ca_ack_delay, phys_port_cnt
        }
        ibv_port_attr { state, active_mtu, gid_tbl_len, max_msg_sz, lid, phys_state, link_layer, port_cap_flags2 }
        ibv_qp_init_attr { qp_context, send_cq, recv_cq, srq, cap, qp_type, sq_sig_all }
        ibv_global_route { dgid, flow_label, sgid_index, hop_limit, traffic_class }
        ibv_ah_attr { grh, dlid, sl, src_path_bits, static_rate, is_global, port_num }
        ibv_qp_attr {
            qp_state, path_mtu, rq_psn, sq_psn, dest_qp_num, qp_access_flags, cap, ah_attr, alt_ah_attr, pkey_index,
            max_rd_atomic, max_dest_rd_atomic, min_rnr_timer, port_num, timeout, retry_cnt, rnr_retry, rate_limit
        }
        ibv_sge { addr, length, lkey }
        ibv_send_wr {
            wr_id, next, sg_list, num_sge, opcode, send_flags, imm_data, remote_addr = "wr.rdma.remote_addr",
            rkey = "wr.rdma.rkey"
        }
        ibv_recv_wr { wr_id, next, sg_list, num_sge }
        ibv_wc { wr_id, status, opcode, vendor_err, byte_len, imm_data, qp_num, src_qp, wc_flags, slid, sl }
        ibv_async_event { element, event_type }
    });
    all.extend(abi::NUMBERS.iter().map(|&(name, number)| (name.to_owned(), number as usize)));
    all
}

fn compare() -> Result<(), String> {
    let expected = expectations();
    let mut source =
        "#include <infiniband/verbs.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {\n".to_owned();
    for (what, _) in &expected {
        writeln!(source, "  printf(\"%zu\\n\", (size_t)({what}));").map_err(|error| error.to_string())?;
    }
    source.push_str("  return 0;\n}\n");
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (file, program) = (folder.path().join("layout.c"), folder.path().join("layout"));
    std::fs::write(&file, source).map_err(|error| error.to_string())?;
    let compiled = Command::new("cc").arg("-o").arg(&program).arg(&file).output().map_err(|error| error.to_string())?;
    if !compiled.status.success() {
        return Err(format!("the C program does not compile: {}", String::from_utf8_lossy(&compiled.stderr)));
    }
    let printed = Command::new(&program).output().map_err(|error| error.to_string())?.stdout;
    let got: Vec<usize> = String::from_utf8_lossy(&printed).lines().filter_map(|line| line.parse().ok()).collect();
    if got.len() != expected.len() {
        return Err(format!("{} values printed: expected {}", got.len(), expected.len()));
    }
    let wrong: Vec<String> = expected
        .iter()
        .zip(got)
        .filter(|((_, here), got)| here != got)
        .map(|((what, here), got)| format!("{what} is {got}, and {here} in sys/abi.rs"))
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

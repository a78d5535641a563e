// How a hypervisor attaches a disk to a guest. See it work (exit code 0, last line "hypervisor: ok …"):
//
//   dotnet run -c Release --project examples/HypervisorAttach
//
// Three parties:
//
//   the guest       a second process (this program, started again): owns its RAM and the ring in it, and does I/O by writing the ring by hand;
//   the hypervisor  this process: has the RAM mapped already, and is handed the guest's descriptors (RAM, kick, call); it only describes them;
//   the back-end    a disk on the other end of a socket pair.
//
// The front-end neither maps the RAM again nor touches the ring, and the notifications go past it: guest and back-end talk directly.
using System.IO.MemoryMappedFiles;
using HypervisorAttach;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;

if (args is ["guest", var path])
    return await Guest.RunAsync(path);

const ulong DiskSize = 16 << 20;
string socket = Path.Combine(Path.GetTempPath(), $"vhost-hypervisor-{Environment.ProcessId}.sock");
await using VhostUserListener listener = VhostUserListener.Listen(socket);
using GuestProcess guest = GuestProcess.Start(socket);
await using VhostUserConnection line = await listener.AcceptAsync(CancellationToken.None);

// What a hypervisor has before any device: the guest's RAM, mapped, and notifiers (with KVM an ioeventfd and an irqfd).
GuestResources given = await GuestResources.ReceiveAsync(line);
using MemoryMappedFile mapping = MemoryMappedFile.CreateFromFile(
    given.Ram, null, (long)given.RamSize, MemoryMappedFileAccess.ReadWrite, HandleInheritability.None, leaveOpen: true);
using MemoryMappedViewAccessor view = mapping.CreateViewAccessor();
nint address = view.SafeMemoryMappedViewHandle.DangerousGetHandle();
using EventNotifier kick = new(given.Kick);
using EventNotifier call = new(given.Call);

// The back-end, on the other end of a socket pair.
using MemoryStorage storage = new(DiskSize);
BlockDevice device = new(storage);
await using VhostUserBackend backend = new(device);
(VhostUserConnection frontEnd, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
Task serving = backend.ServeAsync(backEnd);

// Attach: features as the guest's driver chose them, RAM described, ring described.
VringBase stoppedAt;
await using (VhostUserFrontend disk = await VhostUserFrontend.StartAsync(frontEnd))
{
    using SharedMemory ram = SharedMemory.FromCallerOwned(given.Ram, 0, given.RamSize, address);
    using GuestMemory memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), ram));
    await disk.SetFeaturesAsync(VirtioFeatures.Version1);
    await disk.SetMemoryAsync(memory);
    FrontendVring ring = await disk.StartVringAsync(new VringSettings
    {
        Index = 0,
        Size = given.RingSize,
        DescriptorTable = given.DescriptorTable,
        AvailableRing = given.AvailableRing,
        UsedRing = given.UsedRing,
        Kick = kick,
        Call = call,
    });
    Console.WriteLine(disk.Summary);
    await GuestMessages.SendAsync(line, GuestMessages.Attached);

    // The guest works by itself until it says it is done. Then the disk is detached: after StopAsync the back-end leaves RAM and ring alone.
    await GuestMessages.ExpectAsync(line, GuestMessages.Done);
    stoppedAt = await ring.StopAsync();
}

await serving;
await GuestMessages.SendAsync(line, GuestMessages.Detached);
int exitCode = await guest.WaitAsync();
bool ok = exitCode == 0 && stoppedAt.AvailableIndex == device.Statistics.Served;
Console.WriteLine($"hypervisor: {(ok ? "ok" : "failed")} requests={device.Statistics.Served} stopped_at={stoppedAt.AvailableIndex} guest_exit_code={exitCode}");
return ok ? 0 : 1;

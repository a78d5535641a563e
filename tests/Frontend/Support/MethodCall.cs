using System.Runtime.InteropServices;
using Vhost.Protocol;
using R = Vhost.Protocol.VhostUserRequest;

namespace Vhost.Frontend.Tests;

/// <summary>A call of a method of the raw layer, and the payload that the specification wants for it, written by hand; the bytes are those of a little-endian machine.</summary>
/// <param name="Request">The message.</param>
/// <param name="Bytes">Its payload in hexadecimal.</param>
/// <param name="Descriptors">How many there are with it, each of them the one that was given.</param>
/// <param name="Asking">Whether it asks for an answer.</param>
/// <param name="Send">Calls the method, with a descriptor to send where it sends one.</param>
internal sealed record MethodCall(R Request, string Bytes, int Descriptors, MethodCall.Rule Asking, Func<VhostUserRequestClient, SafeHandle, Task> Send)
{
    private const string Region = "0010000000000000 0020000000000000 0070000000000000 1000000000000000";

    private static readonly VhostUserMemoryRegion _region = new(new(0x1000), 0x2000, new(0x7000), 0x10);
    private static readonly VhostUserVringAddress _address = new(3, 1, new(0x2000), new(0x3000), new(0x4000), 0x5000);
    private static readonly VhostUserIotlb _update = new(new(0x1000), 0x2000, new(0x7000), VhostUserIotlbPermission.WriteOnly, VhostUserIotlbType.Update);
    private static readonly Guid _id = new("00112233-4455-6677-8899-aabbccddeeff");
    private static readonly byte[] _narrow = [.. Enumerable.Range(0, 632).Select(static i => (byte)i)];
    private static readonly byte[] _wide = [.. Enumerable.Range(0, 1072).Select(static i => (byte)(i * 3))];

    /// <summary>When a message asks for an answer with NEED_REPLY.</summary>
    public enum Rule
    {
        /// <summary>Unless the policy is never to ask.</summary>
        Policy,

        /// <summary>It has an answer of its own, and asks where the policy is to ask with every request.</summary>
        OwnReply,

        /// <summary>Whatever the policy is.</summary>
        Always,

        /// <summary>Its answer says more than an acknowledgement, or it has none.</summary>
        Never,
    }

    public static IReadOnlyList<MethodCall> All { get; } =
    [
        new(R.GetFeatures, "", 0, Rule.OwnReply, static (client, _) => client.GetFeaturesAsync().AsTask()),
        new(R.SetFeatures, "00000020 01000000", 0, Rule.Policy, static (client, _) => client.SetFeaturesAsync(VirtioFeatures.Version1 | VirtioFeatures.EventIndex).AsTask()),
        new(R.SetOwner, "", 0, Rule.Policy, static (client, _) => client.SetOwnerAsync().AsTask()),
        new(R.ResetOwner, "", 0, Rule.Policy, static (client, _) => client.ResetOwnerAsync().AsTask()),
        new(R.SetMemTable, "01000000 00000000" + Region, 1, Rule.Policy, static (client, file) => client.SetMemTableAsync([_region], new[] { file }).AsTask()),
        new(R.SetMemTable, "01000000 00000000" + Region, 1, Rule.Never, static (client, file) => client.SetMemTableForPostcopyAsync([_region], new[] { file }).AsTask())
        {
            Variant = "postcopy",
        },
        new(R.SetMemTable, "00000000 00000000", 0, Rule.Never, static (client, _) => client.ConfirmPostcopyAddressesAsync(R.SetMemTable).AsTask()) { Variant = "confirmation" },
        new(R.SetLogBase, "0010000000000000 0020000000000000", 1, Rule.OwnReply, static (client, file) => client.SetLogBaseAsync(new VhostUserLog(0x1000, 0x2000), file).AsTask()),
        new(R.SetLogBase, "0807060504030201", 0, Rule.Policy, static (client, _) => client.SetLogBaseAsync(0x0102_0304_0506_0708).AsTask()) { Variant = "by address" },
        new(R.SetLogFd, "", 1, Rule.Policy, static (client, file) => client.SetLogFdAsync(file).AsTask()),
        new(R.SetVringNum, "03000000 80010000", 0, Rule.Policy, static (client, _) => client.SetVringNumAsync(3, 0x180).AsTask()),
        new(
            R.SetVringAddr,
            "03000000 01000000 0020000000000000 0030000000000000 0040000000000000 0050000000000000",
            0,
            Rule.Policy,
            static (client, _) => client.SetVringAddrAsync(_address).AsTask()),
        new(R.SetVringBase, "03000000 34120000", 0, Rule.Policy, static (client, _) => client.SetVringBaseAsync(3, 0x1234).AsTask()),
        new(R.GetVringBase, "03000000 00000000", 0, Rule.OwnReply, static (client, _) => client.GetVringBaseAsync(3).AsTask()),
        new(R.SetVringKick, "03000000 00000000", 1, Rule.Policy, static (client, file) => client.SetVringKickAsync(3, file).AsTask()),
        new(R.SetVringKick, "03010000 00000000", 0, Rule.Policy, static (client, _) => client.SetVringKickAsync(3, descriptor: null).AsTask()) { Variant = "none" },
        new(R.SetVringCall, "03000000 00000000", 1, Rule.Policy, static (client, file) => client.SetVringCallAsync(3, file).AsTask()),
        new(R.SetVringCall, "03010000 00000000", 0, Rule.Policy, static (client, _) => client.SetVringCallAsync(3, descriptor: null).AsTask()) { Variant = "none" },
        new(R.SetVringErr, "ff000000 00000000", 1, Rule.Policy, static (client, file) => client.SetVringErrAsync(255, file).AsTask()),
        new(R.SetVringErr, "ff010000 00000000", 0, Rule.Policy, static (client, _) => client.SetVringErrAsync(255, descriptor: null).AsTask()) { Variant = "none" },
        new(R.GetProtocolFeatures, "", 0, Rule.OwnReply, static (client, _) => client.GetProtocolFeaturesAsync().AsTask()),
        new(
            R.SetProtocolFeatures,
            "00024000 00000000",
            0,
            Rule.Policy,
            static (client, _) => client.SetProtocolFeaturesAsync(VhostUserProtocolFeatures.Config | VhostUserProtocolFeatures.Shmem).AsTask()),
        new(R.GetQueueNum, "", 0, Rule.OwnReply, static (client, _) => client.GetQueueNumAsync().AsTask()),
        new(R.SetVringEnable, "03000000 01000000", 0, Rule.Policy, static (client, _) => client.SetVringEnableAsync(3, enabled: true).AsTask()),
        new(R.SetVringEnable, "03000000 00000000", 0, Rule.Policy, static (client, _) => client.SetVringEnableAsync(3, enabled: false).AsTask()) { Variant = "off" },
        new(R.SendRarp, "010203040506 0000", 0, Rule.Policy, static (client, _) => client.SendRarpAsync(0x0605_0403_0201).AsTask()),
        new(R.NetSetMtu, "dc050000 00000000", 0, Rule.Policy, static (client, _) => client.NetSetMtuAsync(1500).AsTask()),
        new(R.SetBackendReqFd, "", 1, Rule.Policy, static (client, file) => client.SetBackendReqFdAsync(file).AsTask()),
        new(
            R.IotlbMsg,
            "0010000000000000 0020000000000000 0070000000000000 02 02 000000000000",
            0,
            Rule.Always,
            static (client, _) => client.IotlbMsgAsync(_update).AsTask()),
        new(R.SetVringEndian, "03000000 00000000", 0, Rule.Policy, static (client, _) => client.SetVringEndianAsync(3, bigEndian: false).AsTask()) { Variant = "little" },
        new(R.SetVringEndian, "03000000 01000000", 0, Rule.Policy, static (client, _) => client.SetVringEndianAsync(3, bigEndian: true).AsTask()) { Variant = "big" },
        new(R.GetConfig, "04000000 08000000 00000000 0000000000000000", 0, Rule.OwnReply, static (client, _) => client.GetConfigAsync(4, 8).AsTask()),
        new(R.SetConfig, "20000000 02000000 00000000 aabb", 0, Rule.Policy, static (client, _) => client.SetConfigAsync(32, new byte[] { 0xaa, 0xbb }).AsTask()),
        new(
            R.SetConfig,
            "20000000 01000000 01000000 aa",
            0,
            Rule.Policy,
            static (client, _) => client.SetConfigAsync(32, new byte[] { 0xaa }, VhostUserConfigFlags.Migration).AsTask()) { Variant = "migration" },
        new(R.CreateCryptoSession, Convert.ToHexString(_narrow), 0, Rule.OwnReply, static (client, _) => client.CreateCryptoSessionAsync(_narrow).AsTask()),
        new(R.CreateCryptoSession, Convert.ToHexString(_wide), 0, Rule.OwnReply, static (client, _) => client.CreateCryptoSessionAsync(_wide).AsTask()) { Variant = "wide" },
        new(R.CloseCryptoSession, "8877665544332211", 0, Rule.Policy, static (client, _) => client.CloseCryptoSessionAsync(0x1122_3344_5566_7788).AsTask()),
        new(R.PostcopyAdvise, "", 0, Rule.OwnReply, static async (client, _) => (await client.PostcopyAdviseAsync()).Dispose()),
        new(R.PostcopyListen, "", 0, Rule.Always, static (client, _) => client.PostcopyListenAsync().AsTask()),
        new(R.PostcopyEnd, "", 0, Rule.Always, static (client, _) => client.PostcopyEndAsync().AsTask()),
        new(
            R.GetInflightFd,
            "0000000000000000 0000000000000000 0200 8000 00000000",
            0,
            Rule.OwnReply,
            static async (client, _) => (await client.GetInflightFdAsync(new VhostUserInflight(0, 0, 2, 128))).Descriptor!.Dispose()),
        new(
            R.SetInflightFd,
            "0010000000000000 0020000000000000 0200 8000 00000000",
            1,
            Rule.Policy,
            static (client, file) => client.SetInflightFdAsync(new VhostUserInflight(0x1000, 0x2000, 2, 128), file).AsTask()),
        new(R.GpuSetSocket, "", 1, Rule.Policy, static (client, file) => client.GpuSetSocketAsync(file).AsTask()),
        new(R.ResetDevice, "", 0, Rule.Policy, static (client, _) => client.ResetDeviceAsync().AsTask()),
        new(R.VringKick, "03000000 00000000", 0, Rule.Policy, static (client, _) => client.VringKickAsync(3).AsTask()),
        new(R.GetMaxMemSlots, "", 0, Rule.OwnReply, static (client, _) => client.GetMaxMemSlotsAsync().AsTask()),
        new(R.AddMemReg, "0000000000000000" + Region, 1, Rule.Policy, static (client, file) => client.AddMemRegAsync(new(_region), file).AsTask()),
        new(R.AddMemReg, "0000000000000000" + Region, 1, Rule.Never, static (client, file) => client.AddMemRegForPostcopyAsync(new(_region), file).AsTask()) { Variant = "postcopy" },
        new(R.RemMemReg, "0000000000000000" + Region, 0, Rule.Policy, static (client, _) => client.RemMemRegAsync(new(_region)).AsTask()),
        new(R.SetStatus, "0f000000 00000000", 0, Rule.Policy, static (client, _) => client.SetStatusAsync(0x0f).AsTask()),
        new(R.GetStatus, "", 0, Rule.OwnReply, static (client, _) => client.GetStatusAsync().AsTask()),
        new(R.GetSharedObject, "00112233445566778899aabbccddeeff", 0, Rule.OwnReply, static async (client, _) => (await client.GetSharedObjectAsync(_id))!.Dispose()),
        new(
            R.SetDeviceStateFd,
            "01000000 00000000",
            1,
            Rule.OwnReply,
            static async (client, file) =>
                (await client.SetDeviceStateFdAsync(new(VhostUserTransferDirection.Load, VhostUserTransferPhase.Stopped), file)).Descriptor!.Dispose()),
        new(R.CheckDeviceState, "", 0, Rule.OwnReply, static (client, _) => client.CheckDeviceStateAsync().AsTask()),
        new(R.GetShmemConfig, "", 0, Rule.OwnReply, static (client, _) => client.GetShmemConfigAsync().AsTask()),
        new(R.GetVringBaseSkipDrain, "03000000 00000000", 0, Rule.OwnReply, static (client, _) => client.GetVringBaseSkipDrainAsync(3).AsTask()),
    ];

    /// <summary>Tells calls of one request apart.</summary>
    public string Variant { get; init; } = "";

    public string Name => $"{Request} {Variant}".TrimEnd();

    public byte[] Payload => Convert.FromHexString(Bytes.Replace(" ", "", StringComparison.Ordinal));

    public bool Asks(AcknowledgementPolicy policy) => Asking switch
    {
        Rule.Policy => policy != AcknowledgementPolicy.Never,
        Rule.OwnReply => policy == AcknowledgementPolicy.EveryRequest,
        _ => Asking == Rule.Always,
    };
}

using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend.Tests;

/// <summary>One message as the scripted back-end received it.</summary>
internal sealed record ScriptedRequest(VhostUserRequest Code, VhostUserHeaderFlags Flags, byte[] Payload, IReadOnlyList<SafeFileHandle> Descriptors)
{
    public bool WantsAcknowledgement => (Flags & VhostUserHeaderFlags.NeedReply) != 0;

    public ulong U64 => BitConverter.ToUInt64(Payload);

    public uint First => BitConverter.ToUInt32(Payload);

    public uint Second => BitConverter.ToUInt32(Payload, 4);

    public VhostUserMemoryRegion Region => Read<VhostUserSingleRegion>().Region;

    public T Read<T>()
        where T : struct, IVhostUserPayload<T>
    {
        T.TryRead(Payload, out T value).Should().BeTrue($"{Code} carries {typeof(T).Name}");
        return value;
    }

    /// <summary>For transcripts: name, fields, descriptors, and "!" where an acknowledgement is asked for.</summary>
    public override string ToString()
    {
        string name = MessageContracts.NameOf(VhostUserChannel.Main, (uint)Code)["VHOST_USER_".Length..];
        string descriptors = Descriptors.Count == 0 ? "" : string.Create(CultureInfo.InvariantCulture, $" +{Descriptors.Count}fd");
        return $"{name}{Fields()}{descriptors}{(WantsAcknowledgement ? " !" : "")}";
    }

    private string Fields() => Code switch
    {
        VhostUserRequest.SetVringNum or VhostUserRequest.SetVringBase or VhostUserRequest.SetVringEnable or VhostUserRequest.SetVringEndian or VhostUserRequest.GetVringBase
            or VhostUserRequest.GetVringBaseSkipDrain => string.Create(CultureInfo.InvariantCulture, $" {First},{Second}"),
        VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall or VhostUserRequest.SetVringErr =>
            string.Create(CultureInfo.InvariantCulture, $" {(byte)U64}{((U64 & 0x100) != 0 ? ",none" : "")}"),
        VhostUserRequest.SetVringAddr or VhostUserRequest.SetMemTable => string.Create(CultureInfo.InvariantCulture, $" {First}"),
        VhostUserRequest.AddMemReg or VhostUserRequest.RemMemReg => $" {Region.GuestAddress}",
        VhostUserRequest.NetSetMtu or VhostUserRequest.CloseCryptoSession => string.Create(CultureInfo.InvariantCulture, $" {U64}"),
        VhostUserRequest.SetFeatures or VhostUserRequest.SetProtocolFeatures or VhostUserRequest.SetStatus or VhostUserRequest.SendRarp =>
            string.Create(CultureInfo.InvariantCulture, $" 0x{U64:x}"),
        _ => "",
    };
}

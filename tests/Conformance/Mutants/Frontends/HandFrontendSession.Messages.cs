using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests;

// Messages, and what is taken for a reply.
internal sealed partial class HandFrontendSession
{
    private static readonly TimeSpan _replyTimeout = TimeSpan.FromSeconds(1);

    private Task<VhostUserMessage?> _incoming;
    private int _said;
    private bool _asksForRing;

    /// <summary>What is wrong about the way in which this front-end meets the end of a connection.</summary>
    public void MayCrash(Exception end)
    {
        bool gone = _incoming.IsCompleted && end is not HandLeavesException { Message: Refused };
        bool crashes = _sin switch
        {
            FrontendSin.DiesOfLossAtFirst => gone && _said <= 2,
            FrontendSin.DiesOfLossOnTheWayUp => gone && _said is > 6 and < 12,
            FrontendSin.DiesOfLossWhileRunning => gone && _asksForRing,
            FrontendSin.DiesWithItsFirstRequest => gone && _asksForRing && Reads == 0,
            FrontendSin.DiesOfLossInsideReply => _incoming.IsFaulted && _said <= 2,
            FrontendSin.DiesOfRefusal => end.Message == Refused,
            FrontendSin.DiesOfHugeReply => end is VhostUserProtocolException && _said > 0,
            _ => false,
        };
        if (crashes) throw new HandCrashException();
    }

    private const string Refused = "the back-end refused";

    private async Task<VhostUserMessage?> ReceiveAsync() => await _connection.ReceiveAsync(_stop);

    /// <summary>Says something, and waits until it is acknowledged where that was negotiated.</summary>
    private async Task TellAsync(VhostUserRequest request, byte[] payload, params SafeHandle[] descriptors)
    {
        bool acknowledged = Has(VhostUserProtocolFeatures.ReplyAck) || (_sin == FrontendSin.WantsReplyTooSoon && request == VhostUserRequest.SetOwner);
        await SendAsync(request, payload, acknowledged, descriptors);
        if (!Has(VhostUserProtocolFeatures.ReplyAck)) return;
        (byte[] reply, _) = await ReplyAsync(request, VhostUserU64.Size, 0);
        if (BitConverter.ToUInt64(reply) == 0) return;
        bool ignored = (_sin == FrontendSin.IgnoresRefusedMemory && request is VhostUserRequest.SetMemTable or VhostUserRequest.AddMemReg)
            || (_sin == FrontendSin.IgnoresRefusedFeatures && request == VhostUserRequest.SetFeatures)
            || (_sin == FrontendSin.IgnoresRefusedRing && request is VhostUserRequest.SetVringNum or VhostUserRequest.SetVringAddr);
        if (!ignored || _sin is not (FrontendSin.IgnoresRefusedMemory or FrontendSin.IgnoresRefusedFeatures or FrontendSin.IgnoresRefusedRing)) throw new HandLeavesException(Refused);
    }

    private async Task<ulong> AskAsync(VhostUserRequest request)
    {
        byte[] payload = _sin == FrontendSin.QuestionWithPayload && request == VhostUserRequest.GetFeatures ? new byte[8] : [];
        (byte[] reply, _) = await AskAsync(request, payload, VhostUserU64.Size, 0);
        byte[] padded = new byte[VhostUserU64.Size];
        reply.AsSpan().CopyTo(padded);
        return BitConverter.ToUInt64(padded);
    }

    private async Task<(byte[] Payload, SafeFileHandle[] Descriptors)> AskAsync(VhostUserRequest request, byte[] payload, int? size, int descriptors)
    {
        await SendAsync(request, payload, wantsReply: false, []);
        return await ReplyAsync(request, size, descriptors);
    }

    private async Task SendAsync(VhostUserRequest request, byte[] payload, bool wantsReply, SafeHandle[] descriptors)
    {
        VhostUserHeader header = VhostUserHeader.ForRequest(request, payload.Length, wantsReply);
        header = _sin switch
        {
            FrontendSin.OtherVersion => header with { Flags = (header.Flags & ~VhostUserHeaderFlags.VersionMask) | (VhostUserHeaderFlags)2 },
            FrontendSin.ReplyFlagInRequest => header with { Flags = header.Flags | VhostUserHeaderFlags.Reply },
            FrontendSin.ReservedFlag => header with { Flags = header.Flags | (VhostUserHeaderFlags)0x10 },
            _ => header,
        };
        _said++;
        await _connection.SendAsync(header, payload, descriptors, _stop);
    }

    private async Task<(byte[] Payload, SafeFileHandle[] Descriptors)> ReplyAsync(VhostUserRequest request, int? size, int descriptors)
    {
        using VhostUserMessage reply = await NextAsync(request);
        CheckForm(request, reply);
        byte[] payload = reply.Payload.ToArray();
        bool rightSize = size is null || payload.Length == size
            || (_sin == FrontendSin.AcceptsEmptyReply && payload.Length == 0) || (_sin == FrontendSin.AcceptsShortReply && payload.Length is > 0 and < 8);
        if (_sin == FrontendSin.DiesOfEmptyReply && payload.Length == 0) throw new HandCrashException();
        if (_sin == FrontendSin.DiesOfReplyDescriptor && reply.DescriptorCount > descriptors) throw new HandCrashException();
        Require(rightSize, "replies of their own size");
        Require(reply.DescriptorCount == descriptors, "no more and no less descriptors with replies");
        return (payload, [.. Enumerable.Range(0, descriptors).Select(reply.TakeDescriptor)]);
    }

    private void CheckForm(VhostUserRequest request, VhostUserMessage reply)
    {
        VhostUserHeaderFlags flags = reply.Header.Flags;
        if (_sin == FrontendSin.AcceptsReplyWithoutFlag) flags |= VhostUserHeaderFlags.Reply;
        if (_sin == FrontendSin.AcceptsReplyOfOtherVersion) flags = (flags & ~VhostUserHeaderFlags.VersionMask) | VhostUserHeaderFlags.Version1;
        Require(flags == (VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.Reply), "replies with the flags of replies");
        Require(reply.Header.Request == (uint)request || _sin == FrontendSin.AcceptsOtherReply, "a reply to what it said");
    }

    private async Task<VhostUserMessage> NextAsync(VhostUserRequest request)
    {
        long begun = Stopwatch.GetTimestamp();
        TimeSpan patience = _sin == FrontendSin.GivesUpTooSoon ? TimeSpan.FromMilliseconds(100) : _replyTimeout;
        VhostUserMessage? reply;
        try
        {
            reply = await _incoming.WaitAsync(patience, _stop);
        }
        catch (TimeoutException)
        {
            if (_sin == FrontendSin.DiesOfSilence) throw new HandCrashException();
            throw new HandLeavesException($"no reply to {request}");
        }

        if (_sin == FrontendSin.HangsAfterLateReply && Stopwatch.GetElapsedTime(begun).TotalMilliseconds > 200) await Task.Delay(Timeout.Infinite, _stop); // the sin: it never goes on
        if (reply is null) throw new HandLeavesException("the back-end is gone");
        _incoming = ReceiveAsync();
        return reply;
    }
}

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>What a back-end that shares asks, step by step.</summary>
internal static class SharingSteps
{
    internal const VhostUserProtocolFeatures SharedFeatures = VhostUserProtocolFeatures.SharedObject | VhostUserProtocolFeatures.BackendSendFd
        | VhostUserProtocolFeatures.Shmem | VhostUserProtocolFeatures.HostNotifier;

    internal static ulong Page { get; } = (ulong)Environment.SystemPageSize;

    internal static async Task<Dialogue> ReadyAsync(VhostUserFrontendOptions options, params ulong[] shmem)
    {
        Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().With(SharedFeatures | options.WantedProtocolFeatures), options with { RequiredProtocolFeatures = SharedFeatures });
        byte[] config = new byte[VhostUserShmemConfig.Size];
        VhostUserShmemConfig.Write(shmem, config);
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetShmemConfig ? Misbehaviour.Reply(request.Code, config) : null;
        return dialogue;
    }

    /// <summary>A page of a file system, beside the tests, as a temporary folder may be memory. It has no name.</summary>
    internal static SafeFileHandle OrdinaryFile()
    {
        string path = Path.Combine(AppContext.BaseDirectory, $"ordinary-{Guid.NewGuid():N}");
        SafeFileHandle file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        File.Delete(path);
        RandomAccess.SetLength(file, (long)Page);
        return file;
    }

    internal static VhostUserVringArea Doorbell(int ring) => new(VhostUserVringDescriptor.Create(ring, noDescriptor: false), Page, 0);

    internal static Task<ulong> MapAsync(Dialogue dialogue, SafeHandle file, VhostUserShmemMap map) => AskAsync(dialogue, VhostUserBackendRequest.ShmemMap, map, file);

    internal static Task<ulong> RingAsync(Dialogue dialogue, SafeHandle file, VhostUserVringArea area) => AskAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, area, file);

    internal static async Task<ulong> AskAsync<TPayload>(Dialogue dialogue, VhostUserBackendRequest request, TPayload payload, params SafeHandle[] descriptors)
        where TPayload : struct, IVhostUserPayload<TPayload>
    {
        await SendAsync(dialogue, request, payload, descriptors);
        using VhostUserMessage? reply = await dialogue.Backend.Channel!.ReceiveAsync().InTime();
        return BitConverter.ToUInt64(reply!.Payload);
    }

    internal static async Task SendAsync<TPayload>(Dialogue dialogue, VhostUserBackendRequest request, TPayload payload, params SafeHandle[] descriptors)
        where TPayload : struct, IVhostUserPayload<TPayload>
    {
        byte[] bytes = new byte[payload.EncodedSize];
        payload.Write(bytes);
        await dialogue.Backend.Channel!.SendAsync(VhostUserHeader.ForRequest(request, bytes.Length, needReply: true), bytes, descriptors);
    }

    /// <summary>Ends when the session has told that it is lost.</summary>
    internal static async Task LoseAsync(Dialogue dialogue)
    {
        TaskCompletionSource told = new(TaskCreationOptions.RunContinuationsAsynchronously);
        dialogue.Session.Disconnected += (_, _) => told.TrySetResult();
        dialogue.Backend.Connection.Abort();
        await told.Task.InTime();
    }
}

// A disk image as a service: the Generic Host starts and stops it, appsettings.json says where, systemd hears of it (docs/hosting.md).
//
//   truncate -s 64M /tmp/disk.img
//   dotnet run -c Release --project examples/HostedBlock -- --Image=/tmp/disk.img --Queues=4 --VhostUser:disk:SocketPath=/tmp/disk.sock
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Vhost.Backend;
using Vhost.Backend.Hosting;

HostApplicationBuilder builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { Args = args, ContentRootPath = AppContext.BaseDirectory });
string image = builder.Configuration["Image"] ?? throw new InvalidOperationException("Image is missing: the file to serve.");
BlockDeviceOptions shape = new() { Queues = builder.Configuration.GetValue("Queues", 1) }; // 1 to 256, checked when the device is made
builder.Services.AddSingleton<IBlockStorage>(_ => FileStorage.Open(image));
builder.Services.AddVhostUserBackend(
    "disk", builder.Configuration.GetSection("VhostUser:disk"), provider => new BlockDevice(provider.GetRequiredService<IBlockStorage>(), shape));
builder.Services.AddHealthChecks().AddVhostUserBackend("disk");
builder.Services.AddVhostUserSystemdNotifications();
await builder.Build().RunAsync();
